//! Checking a file takes little more memory than its header, whatever the header says.

use minerva_llama::TensorType;
use minerva_models::gguf;
use minerva_models::synthetic::{self, Spec, Vocabulary};

mod counting;

use counting::peak;

#[test]
fn the_header_of_a_large_vocabulary_is_not_multiplied_and_a_lie_is_not_believed() {
    let file = tempfile::NamedTempFile::new().expect("a file");
    let tiny = Spec::preset("tiny").expect("a preset");
    let vocabulary = Vocabulary::SentencePiece { tokens: 151_936, fill_in_middle: false };
    let quantization = TensorType::F32;
    let spec = Spec { layers: 1, width: 64, vocabulary, heads: 2, kv_heads: 1, quantization, ..tiny };
    synthetic::write(&spec, file.path(), |_| true).expect("it is written");

    let gguf = gguf::check(file.path()).expect("it is sound");
    let header = gguf.tensors().iter().map(|tensor| tensor.offset).min().expect("tensors") as usize;
    drop(gguf);
    let (_, sound) = peak(|| gguf::check(file.path()).map(drop).expect("it is sound"));
    assert!(sound < header * 5 / 2, "{sound} bytes for a header of {header}");

    // A text of as many bytes as the file has, and one of more than there are addresses.
    let whole = std::fs::read(file.path()).expect("it can be read");
    for length in [whole.len() as u64 - 200, 1 << 40, u64::MAX] {
        let mut bytes = whole[..4096].to_vec();
        bytes[24..32].copy_from_slice(&length.to_le_bytes());
        std::fs::write(file.path(), &bytes).expect("it can be written");
        let (_, lied) = peak(|| gguf::check(file.path()).map(drop).expect_err("it is refused"));
        assert!(lied < 16_384, "{lied} bytes for a lie of {length}");
    }
}
