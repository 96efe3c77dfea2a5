//! The types of number that ggml stores, and how they are laid out.

/// Declares the enum and its table in one place, so that neither can miss a type.
macro_rules! tensor_types {
    ($($variant:ident = $id:literal, $name:literal, $elements:literal in $bytes:literal;)*) => {
        /// A type of tensor data in a GGUF file.
        ///
        /// Numbers are stored in blocks: so many elements in so many bytes. A row is a whole number of blocks.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[allow(missing_docs, reason = "the names are ggml's, and say all there is to say")]
        pub enum TensorType { $($variant = $id,)* }

        impl TensorType {
            /// Every type, in the order of their numbers.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// The type with a number, as it stands in a file.
            #[must_use]
            pub fn from_id(id: u32) -> Option<Self> {
                match id { $($id => Some(Self::$variant),)* _ => None }
            }

            /// Its name, as ggml's own tools print it in capitals.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// The numbers of one block.
            #[must_use]
            pub fn block_elements(self) -> u64 {
                match self { $(Self::$variant => $elements,)* }
            }

            /// The bytes of one block.
            #[must_use]
            pub fn block_bytes(self) -> u64 {
                match self { $(Self::$variant => $bytes,)* }
            }
        }
    };
}

tensor_types! {
    F32 = 0, "F32", 1 in 4;
    F16 = 1, "F16", 1 in 2;
    Q4_0 = 2, "Q4_0", 32 in 18;
    Q4_1 = 3, "Q4_1", 32 in 20;
    Q5_0 = 6, "Q5_0", 32 in 22;
    Q5_1 = 7, "Q5_1", 32 in 24;
    Q8_0 = 8, "Q8_0", 32 in 34;
    Q8_1 = 9, "Q8_1", 32 in 36;
    Q2K = 10, "Q2_K", 256 in 84;
    Q3K = 11, "Q3_K", 256 in 110;
    Q4K = 12, "Q4_K", 256 in 144;
    Q5K = 13, "Q5_K", 256 in 176;
    Q6K = 14, "Q6_K", 256 in 210;
    Q8K = 15, "Q8_K", 256 in 292;
    Iq2Xxs = 16, "IQ2_XXS", 256 in 66;
    Iq2Xs = 17, "IQ2_XS", 256 in 74;
    Iq3Xxs = 18, "IQ3_XXS", 256 in 98;
    Iq1S = 19, "IQ1_S", 256 in 50;
    Iq4Nl = 20, "IQ4_NL", 32 in 18;
    Iq3S = 21, "IQ3_S", 256 in 110;
    Iq2S = 22, "IQ2_S", 256 in 82;
    Iq4Xs = 23, "IQ4_XS", 256 in 136;
    I8 = 24, "I8", 1 in 1;
    I16 = 25, "I16", 1 in 2;
    I32 = 26, "I32", 1 in 4;
    I64 = 27, "I64", 1 in 8;
    F64 = 28, "F64", 1 in 8;
    Iq1M = 29, "IQ1_M", 256 in 56;
    Bf16 = 30, "BF16", 1 in 2;
    Tq1_0 = 34, "TQ1_0", 256 in 54;
    Tq2_0 = 35, "TQ2_0", 256 in 66;
    Mxfp4 = 39, "MXFP4", 32 in 17;
    Nvfp4 = 40, "NVFP4", 64 in 36;
    Q1_0 = 41, "Q1_0", 128 in 18;
    Q2_0 = 42, "Q2_0", 64 in 18;
}

impl TensorType {
    /// Its number in a file.
    #[must_use]
    pub fn id(self) -> u32 {
        self as u32
    }

    /// The type with a name, in either case.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|kind| kind.name().eq_ignore_ascii_case(name))
    }

    /// The bytes of a row, or `None` where it is not a whole number of blocks.
    #[must_use]
    pub fn row_bytes(self, columns: u64) -> Option<u64> {
        let whole = columns.is_multiple_of(self.block_elements());
        whole
            .then(|| columns / self.block_elements())
            .and_then(|blocks| blocks.checked_mul(self.block_bytes()))
    }
}
