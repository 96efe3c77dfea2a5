//! The form of a saved sequence: what llama.cpp wrote, behind a line that says whose it is.

const MAGIC: [u8; 8] = *b"MINERVA1";
const HEADER_BYTES: usize = 24;

/// Who can restore a state: the same model, laid out the same way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Fingerprint(u64);

impl Fingerprint {
    /// Of everything that must be the same, in words.
    pub(crate) fn new(description: &str) -> Self {
        // FNV-1a: told apart are honest differences, not forgeries.
        let hash = description.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        Self(hash)
    }
}

/// An empty state to append llama.cpp's bytes to.
pub(crate) fn begin(fingerprint: Fingerprint) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEADER_BYTES);
    bytes.extend(MAGIC);
    bytes.extend(fingerprint.0.to_le_bytes());
    bytes.extend([0; 8]);
    bytes
}

/// Notes the length, once all bytes are there.
pub(crate) fn finish(bytes: &mut [u8]) {
    let length = bytes.len() as u64;
    bytes[16..HEADER_BYTES].copy_from_slice(&length.to_le_bytes());
}

/// llama.cpp's bytes in a state, or why they are of no use here.
pub(crate) fn payload(bytes: &[u8], fingerprint: Fingerprint) -> Result<&[u8], String> {
    let (header, payload) = bytes.split_at_checked(HEADER_BYTES).ok_or("it is too short to be one")?;
    let number = |place: usize| u64::from_le_bytes(header[place..place + 8].try_into().expect("eight bytes"));
    if header[..8] != MAGIC {
        return Err("it is not a saved sequence, or one of another version".to_owned());
    }
    if number(16) != bytes.len() as u64 {
        return Err(format!("it has {} bytes and was saved with {}", bytes.len(), number(16)));
    }
    if number(8) != fingerprint.0 {
        return Err("it was saved by another model, or by this one with other settings".to_owned());
    }
    Ok(payload)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_same_model_gets_the_bytes_back() {
        let (mine, other) = (Fingerprint::new("mine"), Fingerprint::new("other"));
        let mut bytes = begin(mine);
        bytes.extend(b"state");
        finish(&mut bytes);

        assert_eq!(payload(&bytes, mine), Ok(b"state".as_slice()));
        assert!(payload(&bytes, other).is_err_and(|why| why.contains("another model")));
        assert!(payload(&bytes[..20], mine).is_err_and(|why| why.contains("too short")));
        assert!(payload(&bytes[..26], mine).is_err_and(|why| why.contains("26 bytes")));
        assert!(payload(&[0; 30], mine).is_err_and(|why| why.contains("not a saved sequence")));
    }
}
