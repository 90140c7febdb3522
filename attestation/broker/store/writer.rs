//! One writer, group commit.

use super::StoreError;
use sqlx::{Connection as _, SqliteConnection, SqlitePool};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::{mpsc, oneshot};

/// A change that is there as a whole or not at all.
pub trait Transaction: Send + 'static {
    /// What it answers once it is on the disk.
    type Output: Send + 'static;

    /// Makes the change. An error undoes what it has done so far, and nothing of its neighbours'.
    fn run(self, connection: &mut SqliteConnection) -> impl Future<Output = Result<Self::Output, StoreError>> + Send;
}

/// Most transactions waiting: a second's worth on a slow disk. Beyond it callers are told to come again.
const LONGEST_QUEUE: usize = 4096;
/// Most transactions in one commit, so that the first in it does not wait for too many.
const LARGEST_GROUP: usize = 256;

/// A transaction whose type has been forgotten; running it gives what to say after the commit.
trait Queued: Send {
    fn run<'c>(
        self: Box<Self>,
        connection: &'c mut SqliteConnection,
    ) -> Pin<Box<dyn Future<Output = Box<dyn Answer>> + Send + 'c>>;
    fn refuse(self: Box<Self>, error: StoreError);
}

/// Tells the caller, once it is known whether the commit went well.
trait Answer: Send {
    fn failed(&self) -> bool;
    fn tell(self: Box<Self>, commit: Result<(), StoreError>);
}

struct Waiting<T: Transaction> {
    transaction: T,
    answer: oneshot::Sender<Result<T::Output, StoreError>>,
}

struct Outcome<O> {
    result: Result<O, StoreError>,
    answer: oneshot::Sender<Result<O, StoreError>>,
}

impl<T: Transaction> Queued for Waiting<T> {
    fn run<'c>(
        self: Box<Self>,
        connection: &'c mut SqliteConnection,
    ) -> Pin<Box<dyn Future<Output = Box<dyn Answer>> + Send + 'c>> {
        Box::pin(async move {
            let result = self.transaction.run(connection).await;
            Box::new(Outcome { result, answer: self.answer }) as Box<dyn Answer>
        })
    }

    fn refuse(self: Box<Self>, error: StoreError) {
        let _ = self.answer.send(Err(error));
    }
}

impl<O: Send> Answer for Outcome<O> {
    fn failed(&self) -> bool {
        self.result.is_err()
    }

    fn tell(self: Box<Self>, commit: Result<(), StoreError>) {
        let _ = self.answer.send(commit.and(self.result));
    }
}

#[derive(Clone)]
pub(super) struct Writer {
    queue: mpsc::Sender<Box<dyn Queued>>,
    commits: Arc<AtomicU64>,
}

impl Writer {
    /// Starts the one task that writes. It ends with the last clone of the handle.
    pub(super) fn start(pool: SqlitePool) -> Self {
        let (queue, mut waiting) = mpsc::channel::<Box<dyn Queued>>(LONGEST_QUEUE);
        let commits = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&commits);
        tokio::spawn(async move {
            let mut group = Vec::with_capacity(LARGEST_GROUP);
            while waiting.recv_many(&mut group, LARGEST_GROUP).await > 0 {
                write_group(&pool, std::mem::take(&mut group), &counter).await;
            }
        });
        Self { queue, commits }
    }

    pub(super) async fn commit<T: Transaction>(&self, transaction: T) -> Result<T::Output, StoreError> {
        let (answer, answered) = oneshot::channel();
        self.queue.try_send(Box::new(Waiting { transaction, answer })).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => StoreError::QueueFull(LONGEST_QUEUE),
            mpsc::error::TrySendError::Closed(_) => StoreError::Closed,
        })?;
        answered.await.map_err(|_| StoreError::Closed)?
    }

    pub(super) fn commits(&self) -> u64 {
        self.commits.load(Ordering::Relaxed)
    }
}

async fn write_group(pool: &SqlitePool, group: Vec<Box<dyn Queued>>, commits: &AtomicU64) {
    let mut connection = match pool.acquire().await {
        Ok(connection) => connection,
        Err(error) => return refuse_all(group, &error),
    };
    let mut transaction = match connection.begin_with("BEGIN IMMEDIATE").await {
        Ok(transaction) => transaction,
        Err(error) => return refuse_all(group, &error),
    };
    let alone = group.len() == 1;
    let mut answers = Vec::with_capacity(group.len());
    let mut broken = None;
    for job in group {
        if let Some(error) = &broken {
            job.refuse(StoreError::clone(error));
            continue;
        }
        match run_one(&mut transaction, job, alone).await {
            Ok(answer) => answers.push(answer),
            Err(error) => broken = Some(error),
        }
    }
    // A lone transaction that failed is undone as a whole; a failed one among others has been undone alone.
    let undo = broken.is_some() || (alone && answers.iter().any(|answer| answer.failed()));
    let ended = if undo { transaction.rollback().await } else { transaction.commit().await };
    let result = match (broken, ended) {
        (Some(error), _) => Err(error),
        (None, Err(error)) => Err(error.into()),
        (None, Ok(())) => Ok(()),
    };
    if result.is_ok() && !undo {
        commits.fetch_add(1, Ordering::Relaxed);
    }
    for answer in answers {
        answer.tell(result.clone());
    }
}

/// Runs one of several transactions so that its failure leaves its neighbours as they are.
async fn run_one(
    connection: &mut SqliteConnection,
    job: Box<dyn Queued>,
    alone: bool,
) -> Result<Box<dyn Answer>, StoreError> {
    if alone {
        return Ok(job.run(connection).await);
    }
    sqlx::query("SAVEPOINT one").execute(&mut *connection).await?;
    let answer = job.run(connection).await;
    if answer.failed() {
        sqlx::query("ROLLBACK TO one").execute(&mut *connection).await?;
    }
    sqlx::query("RELEASE one").execute(&mut *connection).await?;
    Ok(answer)
}

fn refuse_all(group: Vec<Box<dyn Queued>>, error: &sqlx::Error) {
    let error = StoreError::Database(error.to_string());
    tracing::error!(%error, waiting = group.len(), "no transaction could be begun");
    for job in group {
        job.refuse(error.clone());
    }
}
