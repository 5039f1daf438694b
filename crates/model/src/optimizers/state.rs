//! The variables of an optimizer in a compiled model, and the step that changes them.

use super::{LearningRate, Optimizer, Options, Step, options::prepare};
use crate::constraints::Constraint;
use ibex_core::{DType, Data, Error, Result, Tensor, Variable};

/// A weight that is trained.
#[derive(Debug)]
pub(crate) struct Trained {
    /// In the model: `dense/kernel`.
    pub name: String,
    pub variable: Variable,
    pub constraint: Option<Constraint>,
}

/// What an optimizer keeps on the device.
#[derive(Debug)]
pub(crate) struct State {
    /// `i32`: steps done.
    pub iterations: Variable,
    /// `f32`; a schedule has none.
    learning_rate: Option<Variable>,
    /// The optimizer's own numbers.
    scalars: Vec<Variable>,
    /// For every trainable weight, in order.
    weights: Vec<Kept>,
}

/// What is kept for one weight.
#[derive(Debug)]
struct Kept {
    average: Option<Variable>,
    /// The sum of gradients since the last change.
    accumulator: Option<Variable>,
    slots: Vec<Variable>,
}

impl State {
    /// The state before the first step, for the given trainable weights.
    pub fn new(optimizer: &dyn Optimizer, weights: &[Trained]) -> Result<State> {
        optimizer.check().map_err(|e| e.context(format!("optimizer {}", optimizer.class_name())))?;
        let options = optimizer.options();
        let kept = |weight: &Trained| -> Result<Kept> {
            let (prefix, weight) = (&weight.name, &weight.variable);
            let new = |name: &str, value: Tensor| Variable::new(format!("{prefix}/{name}"), value);
            let zeros = |name: &str| new(name, Tensor::zeros(weight.shape(), weight.dtype()));
            let slot = |s: super::Slot| new(s.name, Tensor::full(s.shape, f64::from(s.initial), weight.dtype()));
            Ok(Kept {
                average: options.use_ema.then(|| zeros("average")).transpose()?,
                accumulator: options.gradient_accumulation_steps.map(|_| zeros("gradient_accumulator")).transpose()?,
                slots: optimizer.slots(weight.shape()).into_iter().map(slot).collect::<Result<_>>()?,
            })
        };
        let scalar = |(name, initial): (&'static str, f32)| Variable::new(name, Tensor::scalar(initial));
        Ok(State {
            iterations: Variable::new("iteration", Tensor::scalar(0i32))?,
            learning_rate: match options.learning_rate {
                LearningRate::Constant(rate) => Some(Variable::new("learning_rate", Tensor::scalar(rate))?),
                LearningRate::Schedule(_) => None,
            },
            scalars: optimizer.scalars().into_iter().map(scalar).collect::<Result<_>>()?,
            weights: weights.iter().map(kept).collect::<Result<_>>()?,
        })
    }

    /// All variables: what a file of the model holds, and a summary counts.
    pub fn variables(&self) -> impl Iterator<Item = &Variable> {
        let own = [&self.iterations].into_iter().chain(&self.learning_rate).chain(&self.scalars);
        own.chain(self.weights.iter().flat_map(|k| k.average.iter().chain(&k.accumulator).chain(&k.slots)))
    }

    /// All variables as Keras has them in files, for weights in an order: averages and sums of gradients of all weights, then what the optimizer keeps, in
    /// which most have the slots of one weight beside each other. `together` puts all slots of one kind beside each other.
    pub fn in_keras_order(&self, optimizer: &dyn Optimizer, order: &[usize], together: bool) -> Vec<&Variable> {
        let weights: Vec<&Kept> = order.iter().filter_map(|&i| self.weights.get(i)).collect();
        let count = weights.first().map_or(0, |kept| kept.slots.len());
        let kind = |slot: usize| {
            weights.first().and_then(|kept| kept.slots[slot].name().rsplit('/').next()).unwrap_or_default()
        };
        let alone = |slot: usize| together || optimizer.keeps_slots_apart() || kind(slot) == "velocity_hat";
        // Numbers of slots that alternate.
        let mut groups: Vec<Vec<usize>> = Vec::new();
        for slot in 0..count {
            match groups.last_mut().filter(|_| !alone(slot)) {
                Some(group) => group.push(slot),
                None => groups.push(vec![slot]),
            }
        }
        let mut all: Vec<&Variable> = [&self.iterations].into_iter().chain(&self.learning_rate).collect();
        all.extend(weights.iter().filter_map(|kept| kept.average.as_ref()));
        all.extend(weights.iter().filter_map(|kept| kept.accumulator.as_ref()));
        for group in &groups {
            all.extend(weights.iter().flat_map(|kept| group.iter().map(|&slot| &kept.slots[slot])));
        }
        all.extend(&self.scalars);
        all
    }

    /// Is it the learning rate?
    pub fn is_rate(&self, variable: &Variable) -> bool {
        self.learning_rate.as_ref().is_some_and(|rate| rate.id() == variable.id())
    }

    /// The learning rate from now on.
    ///
    /// # Errors
    /// `Model` if a schedule says what it is; `Value` if it is negative or no number.
    pub fn set_learning_rate(&self, rate: f32) -> Result<()> {
        LearningRate::Constant(rate).check()?;
        match &self.learning_rate {
            Some(variable) => variable.set(&Data::F32(vec![rate])),
            None => Err(Error::model(
                "the optimizer's learning rate follows a schedule; compile with a number to be able to set it",
            )),
        }
    }

    /// The learning rate of the next step.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn learning_rate(&self, options: &Options) -> Tensor {
        self.rate(options, &self.iterations.value())
    }

    /// One step, for a program that is being traced. Nothing but what loss scaling keeps itself changes where `finite` (`bool`) does not hold.
    pub fn step(
        &self,
        optimizer: &dyn Optimizer,
        weights: &[Trained],
        mut gradients: Vec<Tensor>,
        finite: Option<&Tensor>,
    ) -> Result<()> {
        let options = optimizer.options();
        let done = self.iterations.value();
        let next = &done + 1;
        let accumulate = options.gradient_accumulation_steps.map(|n| n as i32);
        // Steps that changed the weights: Keras's `iterations`, but its schedules see all steps.
        let changes = accumulate.map_or_else(|| done.clone(), |n| &done / n);
        let turn = accumulate.map(|n| (&next % n).eq(0));
        let changing = match (finite, &turn) {
            (Some(finite), Some(turn)) => Some(finite.and(turn)),
            (finite, turn) => finite.or(turn.as_ref()).cloned(),
        };

        if let (Some(n), Some(turn)) = (accumulate, &turn) {
            for (kept, gradient) in self.weights.iter().zip(&mut gradients) {
                let Some(accumulator) = &kept.accumulator else { continue };
                let old = accumulator.value();
                let sum = &old + &*gradient;
                accumulator.assign(keep(finite, turn.select(0.0, &sum), &old))?;
                *gradient = sum / n as f32;
            }
        }
        let number = (&changes + 1).cast(DType::F32);
        let old: Vec<Tensor> = self.scalars.iter().map(Variable::value).collect();
        let scalars = optimizer.advance(&number, &old);
        for ((variable, new), old) in self.scalars.iter().zip(&scalars).zip(&old) {
            variable.assign(keep(changing.as_ref(), new.clone(), old))?;
        }
        let step = Step { learning_rate: self.rate(options, &done), number, scalars };
        let values: Vec<Tensor> = weights.iter().map(|w| w.variable.value()).collect();
        let (decayed, gradients) = prepare(options, &step, &values, &gradients);
        for (i, (Trained { variable, constraint, .. }, kept)) in weights.iter().zip(&self.weights).enumerate() {
            let slots: Vec<Tensor> = kept.slots.iter().map(Variable::value).collect();
            let (value, new) = optimizer.update(&step, &decayed[i], &gradients[i], &slots);
            let mut value = keep(changing.as_ref(), value, &values[i]);
            for ((slot, new), old) in kept.slots.iter().zip(new).zip(&slots) {
                slot.assign(keep(changing.as_ref(), new, old))?;
            }
            if let Some(average) = &kept.average {
                let old = average.value();
                // The first average is the weight itself.
                let momentum = changes.eq(0).select(0.0, Tensor::scalar(options.ema_momentum));
                let new = keep(finite, &old * &momentum + &value * (1.0 - momentum), &old);
                average.assign(&new)?;
                if let Some(every) = options.ema_overwrite_frequency {
                    let overwrite = ((&changes + 1) % every as i32).eq(0);
                    value = keep(finite, overwrite.select(&new, &value), &value);
                }
            }
            // A constraint that nothing was changed for would be met already.
            variable.assign(constraint.as_ref().map_or_else(|| value.clone(), |c| c.constrain(&value)))?;
        }
        self.iterations.assign(keep(finite, next, &done))
    }

    fn rate(&self, options: &Options, done: &Tensor) -> Tensor {
        match (&self.learning_rate, &options.learning_rate) {
            (Some(variable), _) => variable.value(),
            (None, rate) => rate.at(done),
        }
    }

    /// What ends `fit`: with `use_ema`, the weights become their averages.
    pub fn finish(&self, weights: &[Trained]) -> Result<()> {
        for (weight, kept) in weights.iter().zip(&self.weights) {
            if let Some(average) = &kept.average {
                weight.variable.assign(average.value())?;
            }
        }
        Ok(())
    }
}

/// `new` where the condition holds, if there is one.
fn keep(condition: Option<&Tensor>, new: Tensor, old: &Tensor) -> Tensor {
    match condition {
        Some(condition) => condition.select(new, old),
        None => new,
    }
}
