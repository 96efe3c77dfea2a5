//! A model that does not fit is loaded smaller, by stated steps.
//!
//! Three quarters of its layers on the GPU, then three quarters of those, down to one. Then half of the context, down to
//! [`CONTEXT_LEAST`], where that is allowed. Then no layers on the GPU: the processor, where that is allowed. Then half of
//! the sequences, down to one, where nobody asked for a number. Then it is an error.

use minerva_llama::{Error, Options};

/// The least tokens of context that a model is left with.
pub const CONTEXT_LEAST: u32 = 512;

/// What may be given up for a model to fit, beside layers on a GPU.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Allowed {
    /// The processor may run all of it.
    pub cpu: bool,
    /// There may be fewer sequences.
    pub slots: bool,
    /// The context may be shorter. It has to be spelt out in the options: 0 has no half.
    pub context: bool,
}

/// Loads a model, smaller each time that memory runs out. `options` are afterwards those that it was loaded with.
///
/// # Errors
///
/// The loader's, when it is another one or nothing is left to give up.
pub fn load<T>(
    options: &mut Options,
    allowed: Allowed,
    mut load: impl FnMut(&Options) -> Result<T, Error>,
) -> Result<T, Error> {
    loop {
        let error = match load(options) {
            Err(error) if error.is_out_of_memory() => error,
            other => return other,
        };
        if !shrink(options, allowed) {
            return Err(error);
        }
        tracing::warn!(
            %error,
            gpu_layers = options.gpu_layers.unwrap_or(0),
            context = options.context,
            sequences = options.slots,
            "memory ran out: the model is loaded smaller"
        );
    }
}

/// Takes one step down. False: there is none.
pub fn shrink(options: &mut Options, allowed: Allowed) -> bool {
    let layers = options.gpu_layers.unwrap_or(0);
    if layers > 1 {
        options.gpu_layers = Some((layers * 3 / 4).max(1));
    } else if allowed.context && options.context > CONTEXT_LEAST {
        options.context = (options.context / 2).max(CONTEXT_LEAST);
    } else if layers == 1 && allowed.cpu {
        (options.gpu_layers, options.devices) = (Some(0), Some(Vec::new()));
    } else if layers == 0 && allowed.slots && options.slots > 1 {
        options.slots /= 2;
    } else {
        return false;
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(gpu_layers: u32, slots: u32) -> Options {
        Options { gpu_layers: Some(gpu_layers), slots, ..Options::new("model.gguf") }
    }

    fn out_of_memory(options: &Options) -> Error {
        let cause = "failed to allocate CUDA0 buffer of size 9".to_owned();
        Error::Load { path: options.path.clone(), cause }
    }

    /// The steps that are tried until so many layers and sequences fit.
    fn steps(
        begin: &mut Options,
        allowed: Allowed,
        fits: impl Fn(u32, u32) -> bool,
    ) -> (Vec<(u32, u32)>, bool) {
        let mut tried = Vec::new();
        let loaded = load(begin, allowed, |options| {
            let (layers, slots) = (options.gpu_layers.unwrap_or(0), options.slots);
            tried.push((layers, slots));
            if fits(layers, slots) { Ok(()) } else { Err(out_of_memory(options)) }
        });
        (tried, loaded.is_ok())
    }

    #[test]
    fn layers_go_first_then_the_gpu_then_sequences() {
        let all = Allowed { cpu: true, slots: true, context: false };
        assert_eq!(steps(&mut options(33, 4), all, |_, _| true), (vec![(33, 4)], true));
        assert_eq!(
            steps(&mut options(33, 4), all, |layers, _| layers < 20),
            (vec![(33, 4), (24, 4), (18, 4)], true)
        );
        let mut last = options(3, 4);
        let (tried, loaded) = steps(&mut last, all, |_, slots| slots == 1);
        assert_eq!((tried, loaded), (vec![(3, 4), (2, 4), (1, 4), (0, 4), (0, 2), (0, 1)], true));
        assert_eq!((last.gpu_layers, last.slots, last.devices), (Some(0), 1, Some(Vec::new())));
    }

    #[test]
    fn the_context_goes_before_the_gpu_where_it_may() {
        let allowed = Allowed { cpu: true, slots: true, context: true };
        let mut begin = Options { context: 2000, ..options(2, 2) };
        let mut tried = Vec::new();
        let refused = load(&mut begin, allowed, |options| {
            tried.push((options.gpu_layers.unwrap_or(0), options.context, options.slots));
            Err::<(), _>(out_of_memory(options))
        });
        assert!(refused.is_err());
        assert_eq!(tried, [(2, 2000, 2), (1, 2000, 2), (1, 1000, 2), (1, 512, 2), (0, 512, 2), (0, 512, 1)],);
        // One that is short already is left alone, and so is one that nobody spelt out.
        for context in [0, 100, CONTEXT_LEAST] {
            let mut options = Options { context, ..options(0, 1) };
            assert!(!shrink(&mut options, allowed) && options.context == context);
        }
    }

    #[test]
    fn what_is_not_allowed_is_an_error() {
        let none = Allowed::default();
        assert_eq!(steps(&mut options(2, 4), none, |_, _| false), (vec![(2, 4), (1, 4)], false));
        assert_eq!(steps(&mut options(0, 4), none, |_, _| false), (vec![(0, 4)], false));
        let cpu = Allowed { cpu: true, ..none };
        assert_eq!(steps(&mut options(1, 4), cpu, |_, _| false), (vec![(1, 4), (0, 4)], false));
    }

    #[test]
    fn another_error_is_no_reason_to_try_again() {
        let mut tries = 0;
        let refused =
            load(&mut options(9, 4), Allowed { cpu: true, slots: true, context: true }, |options| {
                tries += 1;
                Err::<(), _>(Error::Load {
                    path: options.path.clone(),
                    cause: "unknown model architecture".into(),
                })
            });
        assert!(refused.is_err() && tries == 1);
    }
}
