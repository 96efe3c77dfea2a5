//! The kinds of value in a GGUF file's metadata, and one value read from it.

use std::ops::Range;

/// A kind of value, as the file numbers them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// An unsigned byte.
    U8,
    /// A signed byte.
    I8,
    /// Two bytes, unsigned.
    U16,
    /// Two bytes, signed.
    I16,
    /// Four bytes, unsigned.
    U32,
    /// Four bytes, signed.
    I32,
    /// A float of four bytes.
    F32,
    /// A truth value in one byte.
    Bool,
    /// Text behind its length.
    Text,
    /// Values of one kind behind their number.
    Array,
    /// Eight bytes, unsigned.
    U64,
    /// Eight bytes, signed.
    I64,
    /// A float of eight bytes.
    F64,
}

impl Kind {
    const ALL: [Self; 13] = [
        Self::U8,
        Self::I8,
        Self::U16,
        Self::I16,
        Self::U32,
        Self::I32,
        Self::F32,
        Self::Bool,
        Self::Text,
        Self::Array,
        Self::U64,
        Self::I64,
        Self::F64,
    ];

    /// Its number in the file.
    #[must_use]
    pub fn id(self) -> u32 {
        self as u32
    }

    /// The kind with a number.
    #[must_use]
    pub fn from_id(id: u32) -> Option<Self> {
        Self::ALL.get(usize::try_from(id).ok()?).copied()
    }

    /// The bytes of one value, where they do not depend on the value.
    #[must_use]
    pub fn bytes(self) -> Option<u64> {
        match self {
            Self::U8 | Self::I8 | Self::Bool => Some(1),
            Self::U16 | Self::I16 => Some(2),
            Self::U32 | Self::I32 | Self::F32 => Some(4),
            Self::U64 | Self::I64 | Self::F64 => Some(8),
            Self::Text | Self::Array => None,
        }
    }
}

/// A value of the metadata. It borrows from the file's bytes, so that a vocabulary of 150,000 pieces costs nothing
/// but those.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Value<'a> {
    /// An integer of any width that is not negative.
    Unsigned(u64),
    /// A negative integer.
    Negative(i64),
    /// A float of either width.
    Float(f64),
    /// A truth value.
    Bool(bool),
    /// Text. It need not be UTF-8: pieces of a vocabulary are bytes.
    Text(&'a [u8]),
    /// Several values of one kind.
    Array(Array<'a>),
}

impl<'a> Value<'a> {
    /// The number, if it is an integer that is not negative.
    #[must_use]
    pub fn as_unsigned(&self) -> Option<u64> {
        if let Self::Unsigned(number) = *self { Some(number) } else { None }
    }

    /// The number, if it is a float.
    #[must_use]
    pub fn as_float(&self) -> Option<f64> {
        if let Self::Float(number) = *self { Some(number) } else { None }
    }

    /// The text, if it is text and UTF-8.
    #[must_use]
    pub fn as_text(&self) -> Option<&'a str> {
        if let Self::Text(text) = *self { std::str::from_utf8(text).ok() } else { None }
    }

    /// The values, if it is an array.
    #[must_use]
    pub fn as_array(&self) -> Option<Array<'a>> {
        if let Self::Array(array) = *self { Some(array) } else { None }
    }

    /// Reads one value from the front of bytes that have been checked, and shortens them.
    pub(super) fn take(kind: Kind, bytes: &mut &'a [u8]) -> Option<Self> {
        Some(match kind {
            Kind::U8 => Self::Unsigned(number::<1>(bytes)?),
            Kind::U16 => Self::Unsigned(number::<2>(bytes)?),
            Kind::U32 => Self::Unsigned(number::<4>(bytes)?),
            Kind::U64 => Self::Unsigned(number::<8>(bytes)?),
            Kind::I8 => Self::signed(i64::from(number::<1>(bytes)? as u8 as i8)),
            Kind::I16 => Self::signed(i64::from(number::<2>(bytes)? as u16 as i16)),
            Kind::I32 => Self::signed(i64::from(number::<4>(bytes)? as u32 as i32)),
            Kind::I64 => Self::signed(number::<8>(bytes)?.cast_signed()),
            Kind::F32 => Self::Float(f64::from(f32::from_bits(number::<4>(bytes)? as u32))),
            Kind::F64 => Self::Float(f64::from_bits(number::<8>(bytes)?)),
            Kind::Bool => Self::Bool(number::<1>(bytes)? != 0),
            Kind::Text => {
                let length = usize::try_from(number::<8>(bytes)?).ok()?;
                Self::Text(bytes.split_off(..length)?)
            }
            Kind::Array => {
                let kind = Kind::from_id(number::<4>(bytes)? as u32)?;
                let length = number::<8>(bytes)?;
                Self::Array(Array { kind, length, bytes: std::mem::take(bytes) })
            }
        })
    }

    fn signed(number: i64) -> Self {
        u64::try_from(number).map_or(Self::Negative(number), Self::Unsigned)
    }
}

/// The values of an array.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Array<'a> {
    /// What they are.
    pub kind: Kind,
    /// How many.
    pub length: u64,
    bytes: &'a [u8],
}

impl<'a> Array<'a> {
    /// The values in order.
    pub fn iter(&self) -> impl Iterator<Item = Value<'a>> + use<'a> {
        let (kind, mut bytes) = (self.kind, self.bytes);
        (0..self.length).map_while(move |_| Value::take(kind, &mut bytes))
    }

    /// Where each text of an array of texts begins: what it takes to look at them in another order, in four bytes
    /// for each. A header has less than 4 GiB.
    pub(super) fn places(&self) -> impl Iterator<Item = u32> + use<'a> {
        let whole = self.bytes.len();
        let mut bytes = self.bytes;
        (0..self.length).map_while(move |_| {
            let place = u32::try_from(whole - bytes.len()).ok();
            Value::take(Kind::Text, &mut bytes).and(place)
        })
    }

    /// The text that begins at one of [`Array::places`].
    pub(super) fn text_at(&self, place: u32) -> &'a [u8] {
        let mut bytes = self.bytes.get(place as usize..).unwrap_or_default();
        if let Some(Value::Text(text)) = Value::take(Kind::Text, &mut bytes) { text } else { &[] }
    }
}

/// Where a value stands in the header, and what it is.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) key: Range<usize>,
    pub(super) kind: Kind,
    pub(super) value: Range<usize>,
}

fn number<const BYTES: usize>(from: &mut &[u8]) -> Option<u64> {
    let mut wide = [0; 8];
    wide[..BYTES].copy_from_slice(from.split_off(..BYTES)?);
    Some(u64::from_le_bytes(wide))
}
