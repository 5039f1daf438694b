//! Convolutions and poolings, which ONNX has channels first.

use super::builder::{Attribute, Attributes, Id};
use super::lower::Lowering;
use super::traced::Dim;
use super::view::View;
use ibex_core::graph::{ConvGeometry, PoolGeometry};
use ibex_core::{Error, Result};

/// What a window does along one axis.
#[derive(Clone, Copy)]
struct Axis {
    /// The place among three axes.
    place: usize,
    input: usize,
    output: usize,
    window: usize,
    stride: usize,
    dilation: usize,
    pad: usize,
}

impl Axis {
    /// Padding after the last element. Negative for elements that no window reaches.
    fn pad_after(&self) -> i64 {
        let reach = (self.window - 1) * self.dilation + 1;
        (self.output.saturating_sub(1) * self.stride + reach) as i64 - (self.input + self.pad) as i64
    }
}

/// Three axes but for those in front where there is nothing but one element.
fn axes(list: [Axis; 3]) -> Vec<Axis> {
    let nothing = |a: &&Axis| a.place < 2 && (a.input, a.output, a.window, a.pad) == (1, 1, 1, 0);
    let front = list.iter().take_while(nothing).count();
    list[front..].to_vec()
}

fn conv_axes(g: &ConvGeometry) -> Vec<Axis> {
    axes([0, 1, 2].map(|place| Axis {
        place,
        input: g.input[place],
        output: g.output[place],
        window: g.kernel[place],
        stride: g.stride[place],
        dilation: g.dilation[place],
        pad: g.pad[place],
    }))
}

fn ints(axes: &[Axis], of: impl Fn(&Axis) -> usize) -> Attribute {
    Attribute::Ints(axes.iter().map(|a| of(a) as i64).collect())
}

/// Padding before all axes, then after all of them.
fn pads(axes: &[Axis]) -> Attribute {
    let before = axes.iter().map(|a| a.pad as i64);
    Attribute::Ints(before.chain(axes.iter().map(|a| a.pad_after().max(0))).collect())
}

impl Lowering<'_> {
    /// The operand `(n, depth, height, width, channels)` channels first and without the axes that there are not.
    fn channels_first(&mut self, view: &View, axes: &[Axis]) -> Id {
        let b = &mut self.b;
        let rank = axes.len() + 2;
        let dims = &view.repeated.clone().unwrap_or_else(|| view.shape.clone());
        let shape: Vec<Dim> =
            [0].into_iter().chain(axes.iter().map(|a| a.place + 1)).chain([4]).map(|i| dims[i]).collect();
        let order: Vec<usize> = [0, rank - 1].into_iter().chain(1..rank - 1).collect();
        let seen = view.reshaped(b, &shape).permuted(b, &order);
        seen.wide(b)
    }

    /// A value channels first as the model sees it.
    fn channels_last(&self, id: Id, shape: &[Dim]) -> View {
        let rank = self.b.shape(id).len();
        let order = [0].into_iter().chain(2..rank).chain([1]).collect();
        View { id, order, shape: shape.to_vec(), repeated: None }
    }

    /// A kernel `(depth, height, width, in, out)` as `(out, in, ..)`.
    fn kernel(&mut self, view: &View, axes: &[Axis]) -> Id {
        let b = &mut self.b;
        let rank = axes.len() + 2;
        let shape: Vec<Dim> = axes.iter().map(|a| a.place).chain([3, 4]).map(|i| view.shape[i]).collect();
        let order: Vec<usize> = [rank - 1, rank - 2].into_iter().chain(0..rank - 2).collect();
        let seen = view.reshaped(b, &shape).permuted(b, &order);
        seen.wide(b)
    }

    pub fn conv(&mut self, i: usize, g: &ConvGeometry) -> Result<View> {
        let axes = conv_axes(g);
        let (x, kernel) = (self.operand(i, 0)?, self.operand(i, 1)?);
        let ids = [self.channels_first(&x, &axes), self.kernel(&kernel, &axes)];
        let node = &self.traced.nodes[i];
        let attributes = vec![
            ("dilations", ints(&axes, |a| a.dilation)),
            ("group", Attribute::Int(g.groups as i64)),
            ("kernel_shape", ints(&axes, |a| a.window)),
            ("pads", pads(&axes)),
            ("strides", ints(&axes, |a| a.stride)),
        ];
        let space = axes.iter().map(|a| Dim::fixed(a.output));
        let shape = [node.shape[0], node.shape[4]].into_iter().chain(space).collect();
        let id = self.b.add("Conv", &ids, attributes, node.dtype.into(), shape);
        Ok(self.channels_last(id, &node.shape))
    }

    pub fn conv_transpose(&mut self, i: usize, g: &ConvGeometry) -> Result<View> {
        let axes = conv_axes(g);
        let (y, kernel) = (self.operand(i, 0)?, self.operand(i, 1)?);
        let ids = [self.channels_first(&y, &axes), self.kernel(&kernel, &axes)];
        let node = &self.traced.nodes[i];
        // What the windows do not reach is zero: more output at the end.
        let more = |a: &Axis| (-a.pad_after()).max(0) as usize;
        let attributes = vec![
            ("dilations", ints(&axes, |a| a.dilation)),
            ("group", Attribute::Int(g.groups as i64)),
            ("kernel_shape", ints(&axes, |a| a.window)),
            ("output_padding", ints(&axes, more)),
            ("pads", pads(&axes)),
            ("strides", ints(&axes, |a| a.stride)),
        ];
        if let Some(axis) = axes.iter().find(|a| more(a) >= a.stride.max(a.dilation)) {
            return Err(Error::unsupported(format!(
                "a transposed convolution with {} elements more at the end than a stride of {} can not be written to ONNX",
                more(axis),
                axis.stride
            )));
        }
        let space = axes.iter().map(|a| Dim::fixed(a.input));
        let shape = [node.shape[0], node.shape[4]].into_iter().chain(space).collect();
        let id = self.b.add("ConvTranspose", &ids, attributes, node.dtype.into(), shape);
        Ok(self.channels_last(id, &node.shape))
    }

    /// The largest element of each window, or with the mean the sum.
    pub fn pool(&mut self, i: usize, kind: &'static str, g: &PoolGeometry) -> Result<View> {
        let axes = axes([0, 1, 2].map(|place| Axis {
            place,
            input: g.input[place],
            output: g.output[place],
            window: g.window[place],
            stride: g.stride[place],
            dilation: 1,
            pad: g.pad[place],
        }));
        let x = self.operand(i, 0)?;
        let x = self.channels_first(&x, &axes);
        let node = &self.traced.nodes[i];
        let mut attributes: Attributes = vec![
            ("kernel_shape", ints(&axes, |a| a.window)),
            ("pads", pads(&axes)),
            ("strides", ints(&axes, |a| a.stride)),
        ];
        let space = axes.iter().map(|a| Dim::fixed(a.output));
        let shape: Vec<Dim> = [node.shape[0], node.shape[4]].into_iter().chain(space).collect();
        let ty = node.dtype.into();
        if kind == "MaxPool" {
            let id = self.b.add(kind, &[x], attributes, ty, shape);
            return Ok(self.channels_last(id, &node.shape));
        }
        // Of means in which padding counts, sums.
        attributes.insert(0, ("count_include_pad", Attribute::Int(1)));
        let mean = self.b.add(kind, &[x], attributes, ty, shape.clone());
        let count = self.b.scalar(axes.iter().map(|a| a.window).product::<usize>() as f64, node.dtype);
        let id = self.b.add("Mul", &[mean, count], vec![], ty, shape);
        Ok(self.channels_last(id, &node.shape))
    }
}
