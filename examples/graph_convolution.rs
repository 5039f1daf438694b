//! A graph convolution (Kipf and Welling 2017) as a layer of one's own, on Zachary's karate club (1977): 34 people, their 78 friendships, and the
//! two sides that they took when the club split. Only the sides of the two leaders are known in training.
//! `cargo run --release --example graph_convolution`

use ibex::prelude::*;

/// Friends, counted from 0.
#[rustfmt::skip]
const EDGES: [(usize, usize); 78] = [
    (0, 1), (0, 2), (0, 3), (0, 4), (0, 5), (0, 6), (0, 7), (0, 8), (0, 10), (0, 11), (0, 12), (0, 13), (0, 17), (0, 19), (0, 21), (0, 31),
    (1, 2), (1, 3), (1, 7), (1, 13), (1, 17), (1, 19), (1, 21), (1, 30), (2, 3), (2, 7), (2, 8), (2, 9), (2, 13), (2, 27), (2, 28), (2, 32),
    (3, 7), (3, 12), (3, 13), (4, 6), (4, 10), (5, 6), (5, 10), (5, 16), (6, 16), (8, 30), (8, 32), (8, 33), (9, 33), (13, 33), (14, 32),
    (14, 33), (15, 32), (15, 33), (18, 32), (18, 33), (19, 33), (20, 32), (20, 33), (22, 32), (22, 33), (23, 25), (23, 27), (23, 29), (23, 32),
    (23, 33), (24, 25), (24, 27), (24, 31), (25, 31), (26, 29), (26, 33), (27, 33), (28, 31), (28, 33), (29, 32), (29, 33), (30, 32), (30, 33),
    (31, 32), (31, 33), (32, 33),
];

/// Those who went with the instructor, person 0; the others stayed with the officer, person 33.
const INSTRUCTOR: [usize; 17] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 10, 11, 12, 13, 16, 17, 19, 21];

/// `D^-1/2 (A + I) D^-1/2 X W`: every node becomes a mean of itself and its neighbours (Laplacian smoothing), then a linear map.
/// Two inputs, the adjacency `A (batch, nodes, nodes)` and the features `X (batch, nodes, n)`, to `(batch, nodes, units)`.
#[derive(Debug)]
struct GraphConvolution {
    units: usize,
}

impl Layer for GraphConvolution {
    fn class_name(&self) -> &'static str {
        "GraphConvolution"
    }

    fn config(&self) -> ibex::Result<Config> {
        Ok(Config::from_iter([("units".to_string(), self.units.into())]))
    }

    fn build_all(&self, weights: &mut Weights, inputs: &[Shape]) -> ibex::Result<()> {
        weights.add("kernel", [inputs[1][2], self.units], Initializer::GlorotUniform)?;
        Ok(())
    }

    fn call_all(&self, inputs: &[Tensor], cx: &mut Context) -> ibex::Result<Vec<Tensor>> {
        let with_self = &inputs[0] + Tensor::eye(inputs[0].dim(1));
        let scale = with_self.sum_keep(&[-1]).rsqrt();
        let smoothing = with_self * &scale * scale.transpose(1, 2);
        Ok(vec![smoothing.matmul(inputs[1].matmul(cx.weight("kernel")))])
    }
}

fn main() -> ibex::Result<()> {
    let mut adjacency = vec![0f32; 34 * 34];
    for (a, b) in EDGES {
        adjacency[a * 34 + b] = 1.0;
        adjacency[b * 34 + a] = 1.0;
    }
    let adjacency = Tensor::from_vec(adjacency, [1, 34, 34]);
    // Nothing is known of a person but who it is.
    let features = Tensor::eye(34).reshape([1, 34, 34]);
    let side: Vec<i32> = (0..34).map(|person| i32::from(!INSTRUCTOR.contains(&person))).collect();
    let known: Vec<f32> = (0..34).map(|person| f32::from(u8::from(person == 0 || person == 33))).collect();

    let (a, x) = (Input::new([34, 34]).named("adjacency"), Input::new([34, 34]).named("features"));
    let hidden = GraphConvolution { units: 16 }.apply([&a, &x]);
    let logits = GraphConvolution { units: 2 }.apply([&a, &Tanh.apply(&hidden)]);
    let mut model = Model::new([&a, &x], &logits)?;
    model.compile(Adam::new(0.01), SparseCategoricalCrossentropy::from_logits(), ())?;

    let targets = Tensor::from_vec(side.clone(), [1, 34]);
    let weights = Tensor::from_vec(known, [1, 34]);
    for _ in 0..200 {
        model.train_on_batch(([&adjacency, &features], &targets, &weights))?;
    }
    let guessed = model.predict([&adjacency, &features])?.argmax(-1).to_vec::<i32>()?;
    let right = guessed.iter().zip(&side).filter(|(a, b)| a == b).count();
    println!("accuracy: {right} of 34 people on the right side, {:.1} %", 100.0 * right as f64 / 34.0);
    Ok(())
}
