//! Vectors for numbers of categories.

use super::categorical::integers;
use super::{Config, Context, Data, Error, Layer, OutputMode, Result, Shape, Tensor, Weights};
use crate::config;
use serde::{Deserialize, Serialize};

/// Numbers from 0 to `num_tokens - 1` as vectors of length `num_tokens`: see [`OutputMode`], of which all but `Int` are possible; `MultiHot` is the
/// default. A second input has a weight for each number, for `Count`. No weights.
///
/// A number out of range is an error where this is the first layer, and else counts as none.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct CategoryEncoding {
    num_tokens: usize,
    #[serde(default = "multi_hot")]
    output_mode: OutputMode,
}

fn multi_hot() -> OutputMode {
    OutputMode::MultiHot
}

impl CategoryEncoding {
    /// For so many categories.
    pub fn new(num_tokens: usize) -> Self {
        CategoryEncoding { num_tokens, output_mode: multi_hot() }
    }

    /// What the vectors hold.
    pub fn output_mode(self, output_mode: OutputMode) -> Self {
        CategoryEncoding { output_mode, ..self }
    }
}

impl Layer for CategoryEncoding {
    fn class_name(&self) -> &'static str {
        "CategoryEncoding"
    }

    fn config(&self) -> Result<Config> {
        config::save(self)
    }

    fn build_all(&self, _weights: &mut Weights, inputs: &[Shape]) -> Result<()> {
        if self.num_tokens == 0 || [OutputMode::Int, OutputMode::TfIdf].contains(&self.output_mode) {
            return Err(Error::value("needs `num_tokens` of at least 1, and an output mode of one_hot, multi_hot or count"));
        }
        match (inputs, self.output_mode) {
            ([_], _) | ([_, _], OutputMode::Count) => Ok(()),
            _ => Err(Error::model(format!(
                "takes numbers of categories, and weights beside them if the output mode is count; got {} inputs",
                inputs.len()
            ))),
        }
    }

    fn check_data(&self, data: &Data) -> Result<()> {
        // Weights of counts may be any floats.
        if data.dtype().is_float() && self.output_mode == OutputMode::Count {
            return Ok(());
        }
        let numbers = data.to_f64();
        match numbers.iter().position(|n| !(0.0..self.num_tokens as f64).contains(n)) {
            None => Ok(()),
            Some(at) => Err(Error::value(format!(
                "number {} at position {at} is out of range: `num_tokens` is {}, so numbers are 0 to {}",
                numbers[at],
                self.num_tokens,
                self.num_tokens.saturating_sub(1)
            ))),
        }
    }

    fn call_all(&self, inputs: &[Tensor], cx: &mut Context) -> Result<Vec<Tensor>> {
        let [index, counts @ ..] = inputs else { return Err(Error::model("takes an input")) };
        Ok(vec![self.output_mode.encode(&integers(index), self.num_tokens, counts.first(), cx.compute_dtype())?])
    }
}
