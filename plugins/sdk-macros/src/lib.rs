//! The attribute that makes a function the step. Steps use it as `attest_sdk::step`.

use proc_macro2::TokenStream;
use quote::{quote, quote_spanned};
use syn::spanned::Spanned as _;
use syn::{Error, FnArg, ItemFn, ReturnType};

/// What a step looks like, for whoever wrote something else.
const WANTED: &str = "a step is `fn run(args: Vec<String>) -> attest_sdk::Result`";

/// Makes a function the step: `fn run(args: Vec<String>) -> attest_sdk::Result`. A crate has one.
#[proc_macro_attribute]
pub fn step(arguments: proc_macro::TokenStream, item: proc_macro::TokenStream) -> proc_macro::TokenStream {
    let item = TokenStream::from(item);
    match expand(&arguments.into(), item.clone()) {
        Ok(expanded) => expanded.into(),
        Err(error) => {
            // The function stays, or whatever calls it would be an error as well.
            let error = error.into_compile_error();
            quote!(#item #error).into()
        }
    }
}

fn expand(arguments: &TokenStream, item: TokenStream) -> Result<TokenStream, Error> {
    let wanted = |at: &dyn quote::ToTokens, but: &str| Err(Error::new_spanned(at, format!("{WANTED}: {but}")));
    if !arguments.is_empty() {
        return wanted(arguments, "the attribute itself takes nothing");
    }
    let function: ItemFn =
        syn::parse2(item).map_err(|error| Error::new(error.span(), format!("{WANTED}: this is no function")))?;
    let signature = &function.sig;
    if let Some(word) = &signature.asyncness {
        return wanted(word, "it is not `async`, the contract's calls wait by themselves");
    }
    if let Some(word) = &signature.unsafety {
        return wanted(word, "it is not `unsafe`");
    }
    if !signature.generics.params.is_empty() {
        return wanted(&signature.generics.params, "it is not generic");
    }
    let [FnArg::Typed(argument)] = signature.inputs.iter().collect::<Vec<_>>()[..] else {
        return wanted(&signature.ident, "it takes one thing, the arguments");
    };
    let ReturnType::Type(_, returned) = &signature.output else {
        return wanted(&signature.ident, "it returns a `Result`");
    };
    let name = &signature.ident;
    // Where the types differ, the compiler points at the step's own words.
    let call = quote_spanned!(argument.ty.span()=> #name(args));
    let result = quote_spanned!(returned.span()=> let result: ::attest_sdk::Result = #call;);
    Ok(quote! {
        #function

        const _: () = {
            struct Step;

            impl ::attest_sdk::bindings::Guest for Step {
                fn run(
                    args: ::std::vec::Vec<::std::string::String>,
                ) -> ::core::result::Result<(), ::attest_sdk::bindings::StepError> {
                    ::attest_sdk::prepare();
                    #result
                    result.map_err(::core::convert::Into::into)
                }
            }

            ::attest_sdk::bindings::export!(Step with_types_in ::attest_sdk::bindings);
        };
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_stays_and_is_exported() {
        let item = quote!(
            fn publish(args: Vec<String>) -> Result {
                Ok(())
            }
        );
        let expanded = expand(&TokenStream::new(), item.clone()).unwrap().to_string();
        assert!(expanded.starts_with(&item.to_string()), "{expanded}");
        assert!(expanded.contains("publish (args)") && expanded.contains("export !"), "{expanded}");
    }

    #[test]
    fn anything_else_is_told_what_is_wanted() {
        for (arguments, item, but) in [
            (
                quote!(name = "x"),
                quote!(
                    fn run(args: Vec<String>) -> Result {}
                ),
                "the attribute itself takes nothing",
            ),
            (
                quote!(),
                quote!(
                    struct Run;
                ),
                "this is no function",
            ),
            (
                quote!(),
                quote!(
                    async fn run(args: Vec<String>) -> Result {}
                ),
                "it is not `async`",
            ),
            (
                quote!(),
                quote!(
                    unsafe fn run(args: Vec<String>) -> Result {}
                ),
                "it is not `unsafe`",
            ),
            (
                quote!(),
                quote!(
                    fn run<T>(args: T) -> Result {}
                ),
                "it is not generic",
            ),
            (
                quote!(),
                quote!(
                    fn run() -> Result {}
                ),
                "it takes one thing",
            ),
            (
                quote!(),
                quote!(
                    fn run(self) -> Result {}
                ),
                "it takes one thing",
            ),
            (
                quote!(),
                quote!(
                    fn run(a: String, b: String) -> Result {}
                ),
                "it takes one thing",
            ),
            (
                quote!(),
                quote!(
                    fn run(args: Vec<String>) {}
                ),
                "it returns a `Result`",
            ),
        ] {
            let error = expand(&arguments, item.clone()).unwrap_err().to_string();
            assert!(error.starts_with(WANTED) && error.contains(but), "{item}: {error}");
        }
    }
}
