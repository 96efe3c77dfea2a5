//! A whole model file in another type, by llama.cpp's own function.

use std::ffi::CString;
use std::path::Path;

use llama_cpp_sys_2 as sys;

use crate::{Error, backend, log};

/// Makes the enum, and everything that is known of each type, from one table.
macro_rules! file_types {
    ($($variant:ident = $ftype:ident, $name:literal, $about:literal;)*) => {
        /// A mixture of types that llama.cpp makes of a model.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[expect(missing_docs, reason = "the table names them as ggml does, and `about` says what they are")]
        pub enum FileType { $($variant,)* }

        impl FileType {
            /// All of them, the largest first.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// Its name, as llama.cpp's own tool has it.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// What it is, in a few words.
            #[must_use]
            pub fn about(self) -> &'static str {
                match self { $(Self::$variant => $about,)* }
            }

            fn id(self) -> sys::llama_ftype {
                match self { $(Self::$variant => sys::$ftype,)* }
            }
        }
    };
}

file_types! {
    F32 = LLAMA_FTYPE_ALL_F32, "F32", "32 bits: nothing is lost";
    Bf16 = LLAMA_FTYPE_MOSTLY_BF16, "BF16", "16 bits with the range of 32";
    F16 = LLAMA_FTYPE_MOSTLY_F16, "F16", "16 bits";
    Q8_0 = LLAMA_FTYPE_MOSTLY_Q8_0, "Q8_0", "8.5 bits: hardly told from 16";
    Q6K = LLAMA_FTYPE_MOSTLY_Q6_K, "Q6_K", "6.6 bits: very little is lost";
    Q5_1 = LLAMA_FTYPE_MOSTLY_Q5_1, "Q5_1", "6 bits, an older type";
    Q5KM = LLAMA_FTYPE_MOSTLY_Q5_K_M, "Q5_K_M", "5.7 bits: little is lost";
    Q5KS = LLAMA_FTYPE_MOSTLY_Q5_K_S, "Q5_K_S", "5.5 bits";
    Q5_0 = LLAMA_FTYPE_MOSTLY_Q5_0, "Q5_0", "5.5 bits, an older type";
    Q4_1 = LLAMA_FTYPE_MOSTLY_Q4_1, "Q4_1", "5 bits, an older type";
    Q4KM = LLAMA_FTYPE_MOSTLY_Q4_K_M, "Q4_K_M", "4.9 bits: what most people use";
    Q4KS = LLAMA_FTYPE_MOSTLY_Q4_K_S, "Q4_K_S", "4.6 bits";
    Iq4Nl = LLAMA_FTYPE_MOSTLY_IQ4_NL, "IQ4_NL", "4.5 bits, not linear";
    Q4_0 = LLAMA_FTYPE_MOSTLY_Q4_0, "Q4_0", "4.5 bits: the quickest on many processors";
    Iq4Xs = LLAMA_FTYPE_MOSTLY_IQ4_XS, "IQ4_XS", "4.3 bits, not linear";
    Q3KL = LLAMA_FTYPE_MOSTLY_Q3_K_L, "Q3_K_L", "4.3 bits";
    Q3KM = LLAMA_FTYPE_MOSTLY_Q3_K_M, "Q3_K_M", "3.9 bits: much is lost";
    Iq3M = LLAMA_FTYPE_MOSTLY_IQ3_M, "IQ3_M", "3.7 bits";
    Iq3S = LLAMA_FTYPE_MOSTLY_IQ3_S, "IQ3_S", "3.4 bits";
    Q3KS = LLAMA_FTYPE_MOSTLY_Q3_K_S, "Q3_K_S", "3.5 bits";
    Q2K = LLAMA_FTYPE_MOSTLY_Q2_K, "Q2_K", "3.2 bits: very much is lost";
    Tq2_0 = LLAMA_FTYPE_MOSTLY_TQ2_0, "TQ2_0", "2.1 bits, for models of three values";
    Tq1_0 = LLAMA_FTYPE_MOSTLY_TQ1_0, "TQ1_0", "1.7 bits, for models of three values";
    Mxfp4Moe = LLAMA_FTYPE_MOSTLY_MXFP4_MOE, "MXFP4_MOE", "4.3 bits for experts, 8.5 for the rest";
}

/// Types that llama.cpp makes only with an importance matrix.
const WITH_MATRIX: [&str; 9] =
    ["IQ1_S", "IQ1_M", "IQ2_XXS", "IQ2_XS", "IQ2_S", "IQ2_M", "IQ3_XXS", "IQ3_XS", "Q2_K_S"];

impl FileType {
    /// The type with a name, in either case; the K types without a letter are their M.
    ///
    /// # Errors
    ///
    /// [`Error::Quantize`] with the names that there are.
    pub fn from_name(name: &str) -> Result<Self, Error> {
        let upper = name.to_ascii_uppercase();
        if WITH_MATRIX.contains(&upper.as_str()) {
            return Err(Error::Quantize(format!(
                "{upper} is made only with an importance matrix, which cannot be given; IQ3_S, Q2_K and those above need none"
            )));
        }
        let upper = match upper.as_str() {
            "Q3_K" | "Q4_K" | "Q5_K" => format!("{upper}_M"),
            _ => upper,
        };
        Self::ALL.iter().copied().find(|kind| kind.name() == upper).ok_or_else(|| {
            let names: Vec<&str> = Self::ALL.iter().map(|kind| kind.name()).collect();
            Error::Quantize(format!("`{name}` is no type; there are {}", names.join(", ")))
        })
    }
}

/// How a file is quantised.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QuantizeOptions {
    /// Threads. 0: one for each physical core this process may use.
    pub threads: u32,
    /// Quantise what is quantised already, which loses twice.
    pub requantize: bool,
    /// All matrices in the one type, instead of a mixture that keeps more of those that matter most.
    pub pure: bool,
}

/// Writes a model in another type. `input` is a GGUF file that has been checked, or the first of a split model's;
/// `output` is written over. `progress` is told the part of the tensors that is done, 0 to 1, on this thread.
///
/// llama.cpp offers no way to stop it, and does not see every failed write: check the file that it wrote.
///
/// # Errors
///
/// [`Error::Quantize`] in llama.cpp's own words.
pub fn quantize_file(
    input: &Path,
    output: &Path,
    kind: FileType,
    options: &QuantizeOptions,
    mut progress: impl FnMut(f32) + 'static,
) -> Result<(), Error> {
    backend::backend()?;
    let name = |path: &Path| {
        let text = path.to_str().and_then(|path| CString::new(path).ok());
        text.ok_or_else(|| {
            Error::Quantize(format!("{} is no name that llama.cpp takes: it must be UTF-8", path.display()))
        })
    };
    let (from, to) = (name(input)?, name(output)?);
    let threads = if options.threads == 0 { crate::physical_cores() } else { options.threads };
    // SAFETY: returns a struct of plain values.
    let mut params = unsafe { sys::llama_model_quantize_default_params() };
    params.ftype = kind.id();
    params.nthread = i32::try_from(threads).unwrap_or(1);
    params.allow_requantize = options.requantize;
    params.pure_ = options.pure;
    // Its default is 8 GiB of rows at a time.
    params.max_buf_size = 1 << 30;
    let listener = Box::new(move |text: &str| {
        if let Some(part) = part_done(text) {
            progress(part);
        }
    });
    let (status, cause) = log::heard(listener, || {
        // SAFETY: two strings with terminators and parameters without pointers, all of which outlive the call. It
        // catches its own exceptions.
        log::complaints(|| unsafe {
            sys::llama_model_quantize(from.as_ptr(), to.as_ptr(), &raw const params)
        })
    });
    if status == 0 { Ok(()) } else { Err(Error::Quantize(format!("{}: {cause}", input.display()))) }
}

/// The part done before the tensor that a line begins with: `[   3/ 290] blk.0.attn_q.weight …`.
fn part_done(text: &str) -> Option<f32> {
    let (number, count) = text.strip_prefix('[')?.split_once(']')?.0.split_once('/')?;
    let (number, count) = (number.trim().parse::<u16>().ok()?, count.trim().parse::<u16>().ok()?);
    (1..=count).contains(&number).then(|| f32::from(number - 1) / f32::from(count))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_or_the_others_are_told() {
        for &kind in FileType::ALL {
            assert_eq!(FileType::from_name(&kind.name().to_lowercase()).expect("a type"), kind);
        }
        assert_eq!(FileType::from_name("q4_k").expect("a type"), FileType::Q4KM);
        let refusal = |name| FileType::from_name(name).expect_err("refused").to_string();
        assert!(refusal("Q7_0").contains("Q4_K_M"), "{}", refusal("Q7_0"));
        assert!(refusal("iq2_xs").contains("importance matrix"), "{}", refusal("iq2_xs"));
    }

    #[test]
    fn the_line_of_a_tensor_tells_the_part_done() {
        assert_eq!(part_done("[   1/  20] output.weight - [  512,   128], type = f32, "), Some(0.0));
        assert_eq!(part_done("[  11/  20] blk.0.attn_q.weight"), Some(0.5));
        for other in ["size = 1 MiB", "[   0/  20] x", "[21/20] x", "[a/b] x", "["] {
            assert_eq!(part_done(other), None, "{other}");
        }
    }
}
