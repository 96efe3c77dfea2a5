//! Rows of weights into ggml's types.

use llama_cpp_sys_2 as sys;

use crate::{Error, TensorType};

/// Quantises rows of `columns` numbers each. Rows are independent: a tensor can be done in any chunks of whole rows,
/// on any thread.
///
/// # Errors
///
/// [`Error::Quantize`] where the data is not whole rows of whole blocks, is not finite, or the type is one that
/// ggml cannot write, or only with an importance matrix (`IQ2_XXS`, `IQ2_XS`, `IQ1_S`, …).
pub fn quantize_rows(kind: TensorType, data: &[f32], columns: usize) -> Result<Vec<u8>, Error> {
    let refuse =
        |why: String| Err(Error::Quantize(format!("{} from rows of {columns} numbers: {why}", kind.name())));
    if columns == 0 || !data.len().is_multiple_of(columns) {
        return refuse(format!("{} numbers are not whole rows", data.len()));
    }
    let Some(row_bytes) = kind.row_bytes(columns as u64) else {
        return refuse(format!("a row must be a multiple of {}", kind.block_elements()));
    };
    if !writable(kind) {
        return refuse("ggml cannot write it without an importance matrix, or not at all".to_owned());
    }
    if let Some(place) = data.iter().position(|number| !number.is_finite()) {
        return refuse(format!("number {place} is {}", data[place]));
    }

    let rows = data.len() / columns;
    let bytes = rows * usize::try_from(row_bytes).unwrap_or(usize::MAX);
    let mut quantised = vec![0_u8; bytes];
    // SAFETY: `data` holds `rows` rows of `columns` numbers and `quantised` the bytes that as many rows take in this
    // type (a test holds the table against ggml's own). The type is one that ggml writes without a matrix, so that
    // the last pointer may be null. ggml guards the tables that it makes on first use with a lock.
    let written = unsafe {
        sys::ggml_quantize_chunk(
            kind.id(),
            data.as_ptr(),
            quantised.as_mut_ptr().cast(),
            0,
            i64::try_from(rows).unwrap_or(i64::MAX),
            i64::try_from(columns).unwrap_or(i64::MAX),
            std::ptr::null(),
        )
    };
    assert_eq!(written, bytes, "ggml wrote as much as the table says");
    Ok(quantised)
}

/// Whether ggml can write a type without an importance matrix.
fn writable(kind: TensorType) -> bool {
    use TensorType as T;
    matches!(
        kind,
        T::F32
            | T::F16
            | T::Bf16
            | T::Q4_0
            | T::Q4_1
            | T::Q5_0
            | T::Q5_1
            | T::Q8_0
            | T::Q2K
            | T::Q3K
            | T::Q4K
            | T::Q5K
            | T::Q6K
            | T::Iq4Nl
            | T::Iq4Xs
            | T::Iq3Xxs
            | T::Iq3S
            | T::Iq2S
            | T::Tq1_0
            | T::Tq2_0
            | T::Mxfp4
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_of_types_is_ggmls() {
        for &kind in TensorType::ALL {
            // SAFETY: both look a valid type up in a constant table.
            let (elements, bytes) =
                unsafe { (sys::ggml_blck_size(kind.id()), sys::ggml_type_size(kind.id())) };
            assert_eq!(kind.block_elements(), elements as u64, "{}", kind.name());
            assert_eq!(kind.block_bytes(), bytes as u64, "{}", kind.name());
            assert_eq!(TensorType::from_id(kind.id()), Some(kind));
            assert_eq!(TensorType::from_name(&kind.name().to_lowercase()), Some(kind));
        }
        assert_eq!(TensorType::ALL.last().map(|kind| kind.id() + 1), Some(sys::GGML_TYPE_COUNT));
    }

    #[test]
    fn every_writable_type_is_written() {
        let row: Vec<f32> = (0..512_u16).map(|i| (f32::from(i) * 0.37).sin()).collect();
        for &kind in TensorType::ALL.iter().filter(|&&kind| writable(kind)) {
            let quantised = quantize_rows(kind, &row, 256).expect("a writable type");
            assert_eq!(quantised.len() as u64, kind.row_bytes(512).expect("whole blocks"), "{}", kind.name());
            assert!(quantised.iter().any(|&byte| byte != 0), "{}", kind.name());
        }
    }

    #[test]
    fn what_cannot_be_written_is_refused() {
        let refusal = |kind, data: &[f32], columns| {
            quantize_rows(kind, data, columns).expect_err("refused").to_string()
        };
        assert!(refusal(TensorType::Q4_0, &[0.0; 48], 48).contains("multiple of 32"));
        assert!(refusal(TensorType::F32, &[0.0; 5], 2).contains("whole rows"));
        assert!(refusal(TensorType::F16, &[f32::NAN; 4], 4).contains("NaN"));
        assert!(refusal(TensorType::Iq1S, &[0.0; 256], 256).contains("importance"));
    }
}
