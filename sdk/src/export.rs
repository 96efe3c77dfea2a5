/// Exports types as plugins: `export!(sampler: MinP)`, or several at once,
/// `export!(template: Persona, stream: Unmask)`. Once in a crate, which is a `cdylib`.
///
/// Natively it only checks that the types are what they are exported as.
#[macro_export]
macro_rules! export {
    ($($kind:ident: $type:ty),+ $(,)?) => {
        $($crate::__export_one!($kind, $type);)+
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __export_one {
    (sampler, $type:ty) => {
        #[cfg(not(target_family = "wasm"))]
        const _: () = $crate::internal::is_sampler::<$type>();
        #[cfg(target_family = "wasm")]
        const _: () = {
            type Exported = $crate::internal::exports::sampler::Exported<$type>;
            $crate::internal::exports::sampler::export_sampler!(
                Exported with_types_in $crate::internal::exports::sampler
            );
        };
    };
    (template, $type:ty) => {
        #[cfg(not(target_family = "wasm"))]
        const _: () = $crate::internal::is_template::<$type>();
        #[cfg(target_family = "wasm")]
        const _: () = {
            type Exported = $crate::internal::exports::template::Exported<$type>;
            $crate::internal::exports::template::export_template!(
                Exported with_types_in $crate::internal::exports::template
            );
        };
    };
    (stream, $type:ty) => {
        #[cfg(not(target_family = "wasm"))]
        const _: () = $crate::internal::is_stream::<$type>();
        #[cfg(target_family = "wasm")]
        const _: () = {
            type Exported = $crate::internal::exports::stream::Exported<$type>;
            $crate::internal::exports::stream::export_stream!(
                Exported with_types_in $crate::internal::exports::stream
            );
        };
    };
    ($other:ident, $type:ty) => {
        compile_error!(concat!(
            "a plugin is a `sampler`, a `template` or a `stream`, not a `",
            stringify!($other),
            "`"
        ));
    };
}
