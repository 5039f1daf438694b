//! A restricted Boltzmann machine of binary units, trained by contrastive divergence (Hinton 2002) with tensors alone: no layer, no gradient.
//! It learns which pixels of digits are black together. The 5,000 digits ship with Ibex. `cargo run --release --example rbm`

use ibex::prelude::*;

const HIDDEN: usize = 256;
const BATCH: usize = 50;
const EPOCHS: usize = 30;
const RATE: f64 = 0.1;

/// `p(v, h)` is proportional to `exp(v W h + v b + h c)`: given one side, the units of the other are independent.
#[derive(Clone)]
struct Rbm {
    w: Variable,
    b: Variable,
    c: Variable,
}

impl Rbm {
    fn new(visible: usize, hidden: usize) -> ibex::Result<Rbm> {
        Ok(Rbm {
            w: Variable::new("w", Tensor::randn([visible, hidden], 0) * 0.01)?,
            b: Variable::new("b", Tensor::zeros([visible], DType::F32))?,
            c: Variable::new("c", Tensor::zeros([hidden], DType::F32))?,
        })
    }

    /// `p(h = 1 | v)`
    fn hidden(&self, v: &Tensor) -> Tensor {
        (v.matmul(&self.w) + self.c.value()).sigmoid()
    }

    /// `p(v = 1 | h)`
    fn visible(&self, h: &Tensor) -> Tensor {
        (h.matmul(self.w.value().t()) + self.b.value()).sigmoid()
    }

    /// One step of contrastive divergence: what the data is like becomes likelier, what the machine makes of it less likely. Gives the error of
    /// the reconstruction.
    fn learn(&self, v: &Tensor, key: &Tensor) -> ibex::Result<Tensor> {
        let h = self.hidden(v);
        let v_made = self.visible(&draw(&h, key, 0));
        let v_drawn = draw(&v_made, key, 1);
        let h_made = self.hidden(&v_drawn);
        let rate = RATE / v.dim(0) as f64;
        self.w.assign(self.w.value() + (v.t().matmul(&h) - v_drawn.t().matmul(&h_made)) * rate)?;
        self.b.assign(self.b.value() + (v - &v_drawn).sum(&[0]) * rate)?;
        self.c.assign(self.c.value() + (h - h_made).sum(&[0]) * rate)?;
        Ok((v - v_made).square().mean(&[]))
    }
}

/// 1 with probability `p`, else 0.
fn draw(p: &Tensor, key: &Tensor, stream: u32) -> Tensor {
    Tensor::random_uniform(key, stream, p.shape()).lt(p).cast(DType::F32)
}

fn main() -> ibex::Result<()> {
    let device = ibex::default_device()?;
    let digits = ibex::data::mnist_subset()?;
    let black = |images: &Tensor| images.flatten(1).gt(0.5).cast(DType::F32).eval();
    let (train, test) = (black(&digits.train.x)?, black(&digits.test.x)?);

    let rbm = Rbm::new(784, HIDDEN)?;
    let learner = rbm.clone();
    let step = Function::from_slice(&device, move |args| match args {
        [images, key] => Ok(vec![learner.learn(images, key)?]),
        _ => Err(ibex::Error::value("takes images and a random key")),
    });
    for epoch in 0..EPOCHS {
        let order = ibex::data::shuffled_indices(train.dim(0) as u32, 1, epoch as u32);
        let mut errors = Vec::new();
        for (batch, rows) in order.chunks(BATCH).enumerate() {
            let rows = Tensor::from_vec(rows.iter().map(|&i| i as i32).collect(), rows.len());
            let key = Tensor::random_key((epoch * train.dim(0) + batch) as u64);
            errors.extend(step.call(&[&train.gather(rows), &key])?);
        }
        println!("epoch {}: mean squared error {:.4}", epoch + 1, Tensor::stack(&errors, 0).mean(&[]).item::<f32>()?);
    }

    let made = rbm.visible(&rbm.hidden(&test));
    let right = |guess: Tensor| guess.gt(0.5).eq(test.gt(0.5)).cast(DType::F32).mean(&[]).item::<f32>();
    let (right, mean) = (right(made.clone())?, right(train.mean(&[0]).broadcast_to(test.shape()))?);
    println!("held-out digits: {:.2} % of pixels right after a way through {HIDDEN} hidden units", 100.0 * right);
    println!("({:.2} % would be right with the most frequent colour of each pixel)", 100.0 * mean);
    Ok(())
}
