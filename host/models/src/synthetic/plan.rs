//! The tensors of each kind of network, and the metadata that describes them.

use minerva_llama::TensorType;

use super::spec::{Kind, Spec};
use crate::gguf::write::Header;

/// A tensor to be made.
#[derive(Clone, Debug)]
pub(super) struct Tensor {
    pub(super) name: String,
    pub(super) dimensions: Vec<u64>,
    pub(super) kind: TensorType,
    pub(super) fill: Fill,
}

/// What is in it.
#[derive(Clone, Copy, Debug)]
pub(super) enum Fill {
    /// Random numbers of this deviation.
    Spread(f32),
    /// One number everywhere.
    Constant(f32),
    /// -1, -2, … along each row: how fast the parts of a recurrent state decay.
    Decay,
}

/// The logits' deviation: a distribution over the vocabulary that is neither flat nor one token.
const LOGIT_DEVIATION: f32 = 2.5;

/// The name of the architecture in the file.
pub(super) fn architecture(kind: Kind) -> &'static str {
    match kind {
        Kind::Llama | Kind::Experts { .. } => "llama",
        Kind::Qwen2 => "qwen2",
        Kind::SlidingWindow { .. } => "gemma2",
        Kind::Recurrent { .. } => "mamba",
        Kind::Embedding | Kind::Reranker => "bert",
    }
}

/// Describes the network in the metadata.
pub(super) fn describe(spec: &Spec, header: &mut Header) {
    let prefix = architecture(spec.kind);
    let mut set = |key: &str, value: u32| header.set(&format!("{prefix}.{key}"), value);
    set("block_count", spec.layers);
    set("context_length", spec.context);
    set("embedding_length", spec.width);
    let recurrent = matches!(spec.kind, Kind::Recurrent { .. });
    set("feed_forward_length", if recurrent { 0 } else { spec.feed_forward });
    set("attention.head_count", if recurrent { 0 } else { spec.heads });
    if !recurrent {
        set("attention.head_count_kv", spec.kv_heads);
    }
    match spec.kind {
        Kind::Llama | Kind::Qwen2 => set("rope.dimension_count", spec.width / spec.heads),
        Kind::Experts { count, used } => {
            set("rope.dimension_count", spec.width / spec.heads);
            set("expert_count", count);
            set("expert_used_count", used);
        }
        Kind::SlidingWindow { window } => {
            set("attention.sliding_window", window);
            set("attention.key_length", spec.width / spec.heads);
            set("attention.value_length", spec.width / spec.heads);
        }
        Kind::Recurrent { state } => {
            set("ssm.conv_kernel", 4);
            set("ssm.inner_size", 2 * spec.width);
            set("ssm.state_size", state);
            set("ssm.time_step_rank", time_step_rank(spec));
        }
        // How the tokens become one vector: 1 is their mean, 4 the scores of a head.
        Kind::Embedding => set("pooling_type", 1),
        Kind::Reranker => set("pooling_type", 4),
    }
    if matches!(spec.kind, Kind::Embedding | Kind::Reranker) {
        header.set(&format!("{prefix}.attention.causal"), false);
        header.set(&format!("{prefix}.attention.layer_norm_epsilon"), 1e-12_f32);
        header.set("tokenizer.ggml.token_type_count", 2_u32);
    } else {
        header.set(&format!("{prefix}.attention.layer_norm_rms_epsilon"), 1e-6_f32);
    }
    if spec.kind == Kind::Qwen2 {
        header.set(&format!("{prefix}.rope.freq_base"), 1_000_000_f32);
    }
}

/// All tensors, in the order of the file.
pub(super) fn tensors(spec: &Spec, vocabulary: u64) -> Vec<Tensor> {
    let mut plan = Plan { spec, list: Vec::new() };
    let width = u64::from(spec.width);
    let deviation = LOGIT_DEVIATION / (spec.width as f32).sqrt();
    plan.matrix("token_embd.weight", &[width, vocabulary], deviation);
    match spec.kind {
        Kind::Embedding | Kind::Reranker => plan.bert_ends(),
        _ => plan.constant("output_norm.weight", width, 1.0),
    }
    if !spec.tied && !matches!(spec.kind, Kind::Embedding | Kind::Reranker | Kind::SlidingWindow { .. }) {
        plan.matrix("output.weight", &[width, vocabulary], deviation);
    }
    for layer in 0..spec.layers {
        match spec.kind {
            Kind::Embedding | Kind::Reranker => plan.bert_layer(layer),
            Kind::Recurrent { state } => plan.recurrent_layer(layer, u64::from(state)),
            _ => plan.transformer_layer(layer),
        }
    }
    plan.list
}

fn time_step_rank(spec: &Spec) -> u32 {
    spec.width.div_ceil(16)
}

struct Plan<'a> {
    spec: &'a Spec,
    list: Vec<Tensor>,
}

impl Plan<'_> {
    fn transformer_layer(&mut self, layer: u32) {
        let (width, inner) = (u64::from(self.spec.width), u64::from(self.spec.feed_forward));
        let kv = u64::from(self.spec.width / self.spec.heads * self.spec.kv_heads);
        let name = |part: &str| format!("blk.{layer}.{part}.weight");
        self.constant(&name("attn_norm"), width, 1.0);
        for (part, rows) in [("attn_q", width), ("attn_k", kv), ("attn_v", kv)] {
            self.linear(&name(part), width, rows);
            if self.spec.kind == Kind::Qwen2 {
                self.vector(&format!("blk.{layer}.{part}.bias"), rows, Fill::Spread(0.1));
            }
        }
        self.linear(&name("attn_output"), width, width);
        self.constant(&name("ffn_norm"), width, 1.0);
        if let Kind::SlidingWindow { .. } = self.spec.kind {
            self.constant(&name("post_attention_norm"), width, 1.0);
            self.constant(&name("post_ffw_norm"), width, 1.0);
        }
        if let Kind::Experts { count, .. } = self.spec.kind {
            let experts = u64::from(count);
            // The router chooses by small differences: it is never quantised.
            let router = Fill::Spread(1.0 / (width as f32).sqrt());
            self.push(&name("ffn_gate_inp"), &[width, experts], TensorType::F32, router);
            for (part, columns, rows) in [
                ("ffn_gate_exps", width, inner),
                ("ffn_up_exps", width, inner),
                ("ffn_down_exps", inner, width),
            ] {
                self.matrix(&name(part), &[columns, rows, experts], 1.0 / (columns as f32).sqrt());
            }
        } else {
            self.linear(&name("ffn_gate"), width, inner);
            self.linear(&name("ffn_up"), width, inner);
            self.linear(&name("ffn_down"), inner, width);
        }
    }

    fn recurrent_layer(&mut self, layer: u32, state: u64) {
        let width = u64::from(self.spec.width);
        let (inner, rank) = (2 * width, u64::from(time_step_rank(self.spec)));
        let name = |part: &str| format!("blk.{layer}.{part}");
        self.constant(&name("attn_norm.weight"), width, 1.0);
        self.linear(&name("ssm_in.weight"), width, 2 * inner);
        // The convolution and the decay are computed in 32 bits only.
        self.push(&name("ssm_conv1d.weight"), &[4, inner], TensorType::F32, Fill::Spread(0.5));
        self.constant(&name("ssm_conv1d.bias"), inner, 0.0);
        self.linear(&name("ssm_x.weight"), inner, rank + 2 * state);
        self.push(&name("ssm_dt.weight"), &[rank, inner], TensorType::F32, Fill::Spread(0.1));
        self.constant(&name("ssm_dt.bias"), inner, -3.0);
        self.push(&name("ssm_a"), &[state, inner], TensorType::F32, Fill::Decay);
        self.constant(&name("ssm_d"), inner, 1.0);
        self.linear(&name("ssm_out.weight"), inner, width);
    }

    fn bert_ends(&mut self) {
        let (width, context) = (u64::from(self.spec.width), u64::from(self.spec.context));
        self.push("token_types.weight", &[width, 2], TensorType::F32, Fill::Spread(0.02));
        self.push("position_embd.weight", &[width, context], TensorType::F32, Fill::Spread(0.1));
        self.norm("token_embd_norm");
        if self.spec.kind == Kind::Reranker {
            self.linear("cls.weight", width, width);
            self.constant("cls.bias", width, 0.0);
            self.push(
                "cls.output.weight",
                &[width, 1],
                TensorType::F32,
                Fill::Spread(1.0 / (width as f32).sqrt()),
            );
            self.constant("cls.output.bias", 1, 0.0);
        }
    }

    fn bert_layer(&mut self, layer: u32) {
        let (width, inner) = (u64::from(self.spec.width), u64::from(self.spec.feed_forward));
        for (part, columns, rows) in [
            ("attn_q", width, width),
            ("attn_k", width, width),
            ("attn_v", width, width),
            ("attn_output", width, width),
            ("ffn_up", width, inner),
            ("ffn_down", inner, width),
        ] {
            self.linear(&format!("blk.{layer}.{part}.weight"), columns, rows);
            self.vector(&format!("blk.{layer}.{part}.bias"), rows, Fill::Spread(0.02));
        }
        self.norm(&format!("blk.{layer}.attn_output_norm"));
        self.norm(&format!("blk.{layer}.layer_output_norm"));
    }

    /// A matrix that keeps the size of what it is multiplied with.
    fn linear(&mut self, name: &str, columns: u64, rows: u64) {
        self.matrix(name, &[columns, rows], 1.0 / (columns as f32).sqrt());
    }

    fn matrix(&mut self, name: &str, dimensions: &[u64], deviation: f32) {
        self.push(name, dimensions, fitting(self.spec.quantization, dimensions[0]), Fill::Spread(deviation));
    }

    fn norm(&mut self, name: &str) {
        let width = u64::from(self.spec.width);
        self.constant(&format!("{name}.weight"), width, 1.0);
        self.constant(&format!("{name}.bias"), width, 0.0);
    }

    fn constant(&mut self, name: &str, length: u64, value: f32) {
        self.vector(name, length, Fill::Constant(value));
    }

    fn vector(&mut self, name: &str, length: u64, fill: Fill) {
        self.push(name, &[length], TensorType::F32, fill);
    }

    fn push(&mut self, name: &str, dimensions: &[u64], kind: TensorType, fill: Fill) {
        self.list.push(Tensor { name: name.to_owned(), dimensions: dimensions.to_vec(), kind, fill });
    }
}

/// The type itself where a row is a whole number of its blocks, else what llama.cpp's own quantiser takes instead.
fn fitting(kind: TensorType, columns: u64) -> TensorType {
    use TensorType as T;
    let fits = |kind: T| columns.is_multiple_of(kind.block_elements());
    if fits(kind) {
        return kind;
    }
    let smaller = match kind {
        T::Q4K => T::Q5_0,
        T::Q5K => T::Q5_1,
        T::Q6K => T::Q8_0,
        T::Tq1_0 | T::Tq2_0 => T::Q4_0,
        _ => T::Iq4Nl,
    };
    if fits(smaller) { smaller } else { T::F16 }
}
