//! Operations that symbolic tensors have under the names of tensors' own.

use ibex::prelude::*;

macro_rules! operations {
    ($x:ident $z:ident: $($name:literal $result:expr;)+) => {
        const NAMES: &[&str] = &[$($name),+, "reshape", "stack"];

        fn symbolic($x: &SymbolicTensor, $z: &SymbolicTensor) -> Vec<SymbolicTensor> {
            vec![$($result),+, $x.reshape([8, 3]), SymbolicTensor::stack(&[$x, $z], 2)]
        }

        /// What they must give, computed on tensors.
        #[allow(dead_code, reason = "of two programs with this file, one compares in Keras")]
        pub fn computed($x: &Tensor, $z: &Tensor) -> Vec<(&'static str, Tensor)> {
            let all = vec![$($result),+, $x.reshape([$x.dim(0), 8, 3]), Tensor::stack(&[$x.clone(), $z.clone()], 2)];
            NAMES.iter().copied().zip(all).collect()
        }
    };
}

operations! { x z:
    "abs" x.abs();
    "sign" x.sign();
    "exp" x.exp();
    "expm1" x.expm1();
    "log" (x.abs() + 0.5).log();
    "log1p" x.abs().log1p();
    "sqrt" x.abs().sqrt();
    "rsqrt" (x.abs() + 0.5).rsqrt();
    "square" x.square();
    "recip" (x.abs() + 0.5).recip();
    "sin" x.sin();
    "cos" x.cos();
    "tanh" x.tanh();
    "sigmoid" x.sigmoid();
    "erf" x.erf();
    "floor" (x * 3.0).floor();
    "ceil" (x * 3.0).ceil();
    "round" (x * 3.0).round();
    "neg" -x;
    "stop_gradient" x.stop_gradient();
    "pow" x.abs().pow(1.5);
    "maximum" x.maximum(0.25);
    "minimum" x.minimum(z);
    "eq" x.round().eq(z.round()).cast(DType::F32);
    "ne" x.round().ne(0.0).cast(DType::F32);
    "lt" x.lt(z).cast(DType::F32);
    "le" x.le(0.5).cast(DType::F32);
    "gt" x.gt(z).cast(DType::F32);
    "ge" x.ge(0.5).cast(DType::F32);
    "logical_not" x.gt(0.0).logical_not().cast(DType::F32);
    "select" x.gt(0.0).select(x, z);
    "select_number" x.gt(0.0).select(x, -1.0);
    "sum" x.sum(&[1]);
    "mean" x.mean(&[-1]);
    "mean_two" x.mean(&[1, 2]);
    "max" x.max(&[2]);
    "min" x.min(&[1]);
    "prod" x.prod(&[-1]);
    "sum_keep" x - x.sum_keep(&[1]);
    "mean_keep" x - x.mean_keep(&[1, 2]);
    "max_keep" x - x.max_keep(&[-1]);
    "matmul" x.matmul(z.t());
    "clamp" x.clamp(-0.5, 0.5);
    "argmax" x.argmax(-1).cast(DType::F32);
    "softmax" x.softmax(1);
    "log_softmax" x.log_softmax(-1);
    "one_hot" x.argmax(2).one_hot(4, DType::F32);
    "permute" x.permute(&[0, 2, 1]);
    "transpose" x.transpose(1, 2);
    "unsqueeze" x.unsqueeze(1);
    "unsqueeze_last" x.unsqueeze(-1);
    "squeeze" x.narrow(1, 2, 1).squeeze(1);
    "flip" x.flip(&[1, 2]);
    "flip_one" x.flip(&[-1]);
    "pad" x.pad(&[(0, 0), (1, 0), (0, 2)]);
    "index" x.index(1, 5);
    "index_last" x.index(-1, 0);
    "narrow" x.narrow(2, 1, 2);
    "narrow_middle" x.narrow(1, 1, 4);
    "several" (x.index(1, 0) - z.mean(&[1])).abs().log1p();
}

/// A model of two inputs `(6, 4)` whose outputs are all of them.
pub fn model() -> ibex::Result<Model> {
    let (x, z) = (Input::new([6, 4]).named("x"), Input::new([6, 4]).named("z"));
    Model::new([&x, &z], symbolic(&x, &z))
}
