//! Writing a GGUF file front to back: the header in memory, the tensors streamed.
//!
//! ```
//! use minerva_llama::TensorType;
//! use minerva_models::gguf::write::Header;
//!
//! let mut header = Header::new();
//! header.set("general.architecture", "llama");
//! header.set("llama.block_count", 0_u32);
//! header.tensor("output_norm.weight", &[4], TensorType::F32);
//!
//! let mut file = header.begin(Vec::new())?;
//! file.write(&[0; 16])?;
//! let bytes = file.finish()?;
//! assert!(bytes.starts_with(b"GGUF"));
//! # Ok::<(), std::io::Error>(())
//! ```

use std::io::{self, Write};

use minerva_llama::TensorType;

use super::value::Kind;

/// Where the data of a tensor begins: a multiple of this.
pub const ALIGNMENT: u64 = 32;

/// The header of a file in the making.
#[derive(Clone, Debug, Default)]
pub struct Header {
    entries: Vec<u8>,
    entry_count: u64,
    tensors: Vec<u8>,
    tensor_bytes: Vec<u64>,
    data_bytes: u64,
}

impl Header {
    /// One with nothing in it.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a key and its value. A key is given once.
    #[expect(clippy::needless_pass_by_value, reason = "numbers and literals read better without a reference")]
    pub fn set<V: Encode>(&mut self, key: &str, value: V) {
        put_text(&mut self.entries, key);
        self.entries.extend(V::KIND.id().to_le_bytes());
        value.encode(&mut self.entries);
        self.entry_count += 1;
    }

    /// Adds a key and bytes that are already in the form of the file, of the given kind.
    pub fn set_encoded(&mut self, key: &str, kind: Kind, bytes: &[u8]) {
        put_text(&mut self.entries, key);
        self.entries.extend(kind.id().to_le_bytes());
        self.entries.extend(bytes);
        self.entry_count += 1;
    }

    /// Announces a tensor. Their data follows in the same order.
    ///
    /// # Panics
    ///
    /// If a row is not a whole number of blocks of its type.
    pub fn tensor(&mut self, name: &str, dimensions: &[u64], kind: TensorType) {
        put_text(&mut self.tensors, name);
        self.tensors.extend(u32::try_from(dimensions.len()).expect("few dimensions").to_le_bytes());
        dimensions.iter().for_each(|size| self.tensors.extend(size.to_le_bytes()));
        self.tensors.extend(kind.id().to_le_bytes());
        self.tensors.extend(self.data_bytes.to_le_bytes());

        let row = dimensions.first().copied().unwrap_or(1);
        let row_bytes =
            kind.row_bytes(row).unwrap_or_else(|| panic!("{name}: {row} numbers as {}", kind.name()));
        let bytes = row_bytes * dimensions.iter().skip(1).product::<u64>();
        self.tensor_bytes.push(bytes);
        self.data_bytes += bytes.next_multiple_of(ALIGNMENT);
    }

    /// The bytes of all tensors with their padding.
    #[must_use]
    pub fn data_bytes(&self) -> u64 {
        self.data_bytes
    }

    /// Writes the header; the tensors come next.
    ///
    /// # Errors
    ///
    /// The writer's.
    pub fn begin<W: Write>(self, mut to: W) -> io::Result<Tensors<W>> {
        let mut head = Vec::with_capacity(24);
        head.extend(b"GGUF");
        head.extend(3_u32.to_le_bytes());
        head.extend((self.tensor_bytes.len() as u64).to_le_bytes());
        head.extend(self.entry_count.to_le_bytes());
        let length = (head.len() + self.entries.len() + self.tensors.len()) as u64;
        for part in [&head, &self.entries, &self.tensors] {
            to.write_all(part)?;
        }
        pad(&mut to, length)?;
        Ok(Tensors { to, sizes: self.tensor_bytes, current: 0, written: 0 })
    }
}

/// The data of the tensors, one after the other.
#[derive(Debug)]
pub struct Tensors<W> {
    to: W,
    sizes: Vec<u64>,
    current: usize,
    written: u64,
}

impl<W: Write> Tensors<W> {
    /// Appends to the tensor whose turn it is. When it is whole, the next one's turn comes.
    ///
    /// # Errors
    ///
    /// The writer's.
    ///
    /// # Panics
    ///
    /// If these are more bytes than the tensor was announced with.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.to.write_all(bytes)?;
        self.written += bytes.len() as u64;
        let size = self.sizes[self.current];
        assert!(self.written <= size, "a tensor of {size} bytes got {}", self.written);
        if self.written == size {
            pad(&mut self.to, size)?;
            self.current += 1;
            self.written = 0;
        }
        Ok(())
    }

    /// Ends the file.
    ///
    /// # Errors
    ///
    /// The writer's.
    ///
    /// # Panics
    ///
    /// If tensors that were announced are missing.
    pub fn finish(mut self) -> io::Result<W> {
        assert_eq!(self.current, self.sizes.len(), "all tensors are written");
        self.to.flush()?;
        Ok(self.to)
    }
}

fn pad(to: &mut impl Write, length: u64) -> io::Result<()> {
    let missing = length.next_multiple_of(ALIGNMENT) - length;
    to.write_all(&[0; ALIGNMENT as usize][..usize::try_from(missing).unwrap_or(0)])
}

fn put_text(to: &mut Vec<u8>, text: &str) {
    to.extend((text.len() as u64).to_le_bytes());
    to.extend(text.as_bytes());
}

/// A value that metadata can have.
pub trait Encode {
    /// What the file calls it.
    const KIND: Kind;

    /// Appends it in the form of the file.
    fn encode(&self, to: &mut Vec<u8>);
}

macro_rules! encode_numbers {
    ($($number:ty => $kind:ident),*) => {
        $(impl Encode for $number {
            const KIND: Kind = Kind::$kind;
            fn encode(&self, to: &mut Vec<u8>) {
                to.extend(self.to_le_bytes());
            }
        })*
    };
}

encode_numbers!(u8 => U8, u16 => U16, u32 => U32, u64 => U64, i8 => I8, i16 => I16, i32 => I32, i64 => I64, f32 => F32, f64 => F64);

impl Encode for bool {
    const KIND: Kind = Kind::Bool;

    fn encode(&self, to: &mut Vec<u8>) {
        to.push(u8::from(*self));
    }
}

impl Encode for &str {
    const KIND: Kind = Kind::Text;

    fn encode(&self, to: &mut Vec<u8>) {
        put_text(to, self);
    }
}

impl Encode for String {
    const KIND: Kind = Kind::Text;

    fn encode(&self, to: &mut Vec<u8>) {
        put_text(to, self);
    }
}

impl<T: Encode> Encode for &[T] {
    const KIND: Kind = Kind::Array;

    fn encode(&self, to: &mut Vec<u8>) {
        to.extend(T::KIND.id().to_le_bytes());
        to.extend((self.len() as u64).to_le_bytes());
        self.iter().for_each(|value| value.encode(to));
    }
}

impl<T: Encode> Encode for Vec<T> {
    const KIND: Kind = Kind::Array;

    fn encode(&self, to: &mut Vec<u8>) {
        self.as_slice().encode(to);
    }
}
