//! Deterministic input tensors.

use ibex_core::random::threefry;
use ibex_core::{DType, Data, Shape, Tensor};

/// Makes the inputs of one case. Numbers depend on the case's name and on how many inputs came before, on nothing else.
#[derive(Debug)]
pub struct Inputs {
    key: u32,
    made: Vec<Tensor>,
}

impl Inputs {
    /// The inputs of the case of this name.
    pub fn new(name: &str) -> Inputs {
        // FNV-1a.
        let key = name.bytes().fold(0x811C_9DC5_u32, |h, b| (h ^ u32::from(b)).wrapping_mul(0x0100_0193));
        Inputs { key, made: Vec::new() }
    }

    /// `f32` numbers between -2 and 2.
    pub fn normal(&mut self, shape: impl Into<Shape>) -> Tensor {
        self.uniform(shape, -2.0, 2.0)
    }

    /// `f32` numbers between two.
    pub fn uniform(&mut self, shape: impl Into<Shape>, lo: f64, hi: f64) -> Tensor {
        self.typed(DType::F32, shape, lo, hi)
    }

    /// Numbers of a type between two; integers include `hi`, truth values are random.
    pub fn typed(&mut self, dtype: DType, shape: impl Into<Shape>, lo: f64, hi: f64) -> Tensor {
        let shape = shape.into();
        let unit = |i: usize| f64::from(threefry([self.key, self.made.len() as u32], [i as u32, 0])[0]) / 4294967296.0;
        let value = |i: usize| match dtype {
            DType::Bool => f64::from(u8::from(unit(i) < 0.5)),
            DType::I32 | DType::U32 => (lo + unit(i) * (hi - lo + 1.0)).floor(),
            _ => lo + unit(i) * (hi - lo),
        };
        let values: Vec<f64> = (0..shape.elements()).map(value).collect();
        self.push(Data::from_f64(dtype, &values), shape)
    }

    /// These numbers.
    pub fn list(&mut self, dtype: DType, values: &[f64], shape: impl Into<Shape>) -> Tensor {
        self.push(Data::from_f64(dtype, values), shape.into())
    }

    /// `f32` numbers of which no two are equal, at least `1 / 64` apart, in random order.
    pub fn distinct(&mut self, shape: impl Into<Shape>) -> Tensor {
        let shape = shape.into();
        let len = shape.elements();
        let mut order: Vec<usize> = (0..len).collect();
        order.sort_by_key(|&i| threefry([self.key, self.made.len() as u32], [i as u32, 1]));
        let values: Vec<f64> = order.iter().map(|&i| (i as f64 - len as f64 / 2.0) / 64.0).collect();
        self.push(Data::from_f64(DType::F32, &values), shape)
    }

    fn push(&mut self, data: Data, shape: Shape) -> Tensor {
        let tensor = Tensor::from_data(data, shape);
        self.made.push(tensor.clone());
        tensor
    }

    /// All inputs made so far.
    pub fn made(&self) -> &[Tensor] {
        &self.made
    }
}
