//! The body of a request on its way out: what the step sends, behind what the host puts in front of it. It is passed on as it
//! comes, piece by piece and without a copy.

use crate::progress::Progress;
use hyper::body::{Body, Bytes, Frame, Incoming, SizeHint};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

/// What stands between a form's first field and the others.
const BETWEEN: &[u8] = b"&";

/// The body of a request.
#[derive(Debug)]
pub struct Outgoing {
    /// Goes out first.
    front: Option<Bytes>,
    /// Whether something has to stand between it and the rest, if there is a rest.
    between: bool,
    held: Option<Bytes>,
    step: Option<Incoming>,
    /// Bytes that are still to go out, if that is known.
    left: Option<u64>,
    progress: Arc<Progress>,
}

/// Why a body does not go out to its end.
#[derive(Debug, thiserror::Error)]
pub enum Broken {
    /// The step, or whoever sends for it, broke off.
    #[error("the body of the request broke off")]
    Off,
    /// Fields that nobody has checked.
    #[error("the body of the request ends in trailers, and those are not passed on")]
    Trailers,
}

impl Outgoing {
    /// What the step sends.
    pub(crate) fn of_step(body: Incoming, progress: Arc<Progress>) -> Self {
        let left = body.size_hint().exact();
        Self { front: None, between: false, held: None, step: Some(body), left, progress }
    }

    /// What the step sends, behind fields of a form.
    pub(crate) fn behind(fields: Bytes, body: Incoming, progress: Arc<Progress>) -> Self {
        let rest = body.size_hint().exact();
        let between = rest != Some(0);
        let added = length(fields.len()) + u64::from(between);
        let left = rest.and_then(|rest| rest.checked_add(added));
        Self { front: Some(fields), between, held: None, step: Some(body), left, progress }
    }

    /// A body that is there as a whole.
    pub(crate) fn whole(body: Bytes, progress: Arc<Progress>) -> Self {
        let left = Some(length(body.len()));
        Self { front: Some(body), between: false, held: None, step: None, left, progress }
    }

    fn goes_out(&mut self, piece: Bytes) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        self.progress.goes_out(piece.len());
        self.left = self.left.map(|left| left.saturating_sub(length(piece.len())));
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }
}

impl Body for Outgoing {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        let this = &mut *self;
        if let Some(front) = this.front.take().or_else(|| this.held.take()) {
            return this.goes_out(front);
        }
        let Some(step) = &mut this.step else { return Poll::Ready(None) };
        let next = Pin::new(step).poll_frame(context);
        if next.is_pending() {
            this.progress.waits_for_step();
        }
        match ready!(next) {
            None => {
                this.progress.goes_out(0);
                this.step = None;
                Poll::Ready(None)
            }
            Some(Err(_)) => {
                this.progress.breaks();
                Poll::Ready(Some(Err(Broken::Off)))
            }
            Some(Ok(frame)) => match frame.into_data() {
                Ok(data) if this.between && !data.is_empty() => {
                    this.between = false;
                    this.held = Some(data);
                    this.goes_out(Bytes::from_static(BETWEEN))
                }
                Ok(data) => this.goes_out(data),
                Err(_) => {
                    this.progress.breaks();
                    Poll::Ready(Some(Err(Broken::Trailers)))
                }
            },
        }
    }

    fn is_end_stream(&self) -> bool {
        self.front.is_none() && self.held.is_none() && self.step.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.left.map(SizeHint::with_exact).unwrap_or_default()
    }
}

fn length(bytes: usize) -> u64 {
    u64::try_from(bytes).unwrap_or(u64::MAX)
}
