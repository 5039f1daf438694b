//! The one error type of the engine.

use std::fmt;
use std::panic::Location;
use std::sync::Arc;

/// `Result` with the engine's error.
pub type Result<T> = std::result::Result<T, Error>;

/// What kind of thing went wrong, for programs that react to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// Shapes that do not fit an operation or a layer.
    Shape,
    /// An element type that an operation or a device does not take.
    DType,
    /// A value out of its domain: a label out of range, a negative rate, an unknown name.
    Value,
    /// A model that can not be built, compiled or trained as asked.
    Model,
    /// No such device, a lost device, a kernel that a driver rejects.
    Device,
    /// The device or the host has no memory left for this.
    OutOfMemory,
    /// The file system or the network failed.
    Io,
    /// A file is damaged, or is not what its name says.
    Format,
    /// A thing that this build or device can not do.
    Unsupported,
}

/// An error that says what was wrong, where, and what to do.
///
/// Cheap to clone, since an invalid tensor hands its error to everything computed from it.
#[derive(Clone)]
pub struct Error(Arc<Inner>);

#[derive(Clone)]
struct Inner {
    kind: ErrorKind,
    message: String,
    /// Outermost last: "layer dense_1 (Dense)", "fit".
    context: Vec<String>,
    site: Option<&'static Location<'static>>,
}

impl Error {
    /// An error with a message: what was wrong and what to do, without a trailing period.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Error(Arc::new(Inner { kind, message: message.into(), context: Vec::new(), site: None }))
    }

    /// The same error, with the place in the user's code that caused it. The first place stays.
    pub fn at(self, site: &'static Location<'static>) -> Self {
        self.change(|e| {
            e.site.get_or_insert(site);
        })
    }

    /// The same error at another place: for one that was found in code that is not the user's.
    pub fn moved_to(self, site: &'static Location<'static>) -> Self {
        self.change(|e| e.site = Some(site))
    }

    /// The same error, saying also what was being done: `"layer dense_1 (Dense)"`.
    pub fn context(self, what: impl Into<String>) -> Self {
        let what = what.into();
        self.change(|e| e.context.push(what))
    }

    /// The same error with `None` for the numbers that `other`, an error in the same words, has others for: what was tried with two lengths of an axis
    /// that can have any then speaks of none of them.
    pub fn generalized(self, other: &Error) -> Self {
        let Inner { message, context, .. } = &*other.0;
        if context.len() != self.0.context.len() {
            return self;
        }
        self.change(|e| {
            e.message = generalized(&e.message, message);
            e.context.iter_mut().zip(context).for_each(|(a, b)| *a = generalized(a, b));
        })
    }

    /// What kind of thing went wrong.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// The message without context and place.
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// The place in the user's code, if one is known.
    pub fn site(&self) -> Option<&'static Location<'static>> {
        self.0.site
    }

    fn change(mut self, f: impl FnOnce(&mut Inner)) -> Self {
        f(Arc::make_mut(&mut self.0));
        self
    }
}

/// `None` for the numbers of a text that are others in an equal one; the text as it is if they have other words.
fn generalized(text: &str, other: &str) -> String {
    let parts = |text: &str| -> Vec<String> {
        let mut parts: Vec<String> = Vec::new();
        for c in text.chars() {
            match parts.last_mut() {
                Some(last) if last.ends_with(|l: char| l.is_ascii_digit() == c.is_ascii_digit()) => last.push(c),
                _ => parts.push(c.into()),
            }
        }
        parts
    };
    let number = |part: &str| part.starts_with(|c: char| c.is_ascii_digit());
    let (ours, theirs) = (parts(text), parts(other));
    let same = |(a, b): (&String, &String)| a == b || (number(a) && number(b));
    if ours.len() != theirs.len() || !ours.iter().zip(&theirs).all(same) {
        return text.into();
    }
    ours.iter().zip(&theirs).map(|(a, b)| if a == b { a } else { "None" }).collect()
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for what in self.0.context.iter().rev() {
            write!(f, "{what}: ")?;
        }
        f.write_str(&self.0.message)?;
        match self.0.site {
            Some(site) => write!(f, " (at {site})"),
            None => Ok(()),
        }
    }
}

/// The same text as `Display`, so that `fn main() -> Result<()>` prints a readable line.
impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::error::Error for Error {}

/// Short constructors, one for each kind that the crates raise often.
macro_rules! constructors {
    ($($name:ident $kind:ident $doc:literal),* $(,)?) => {
        impl Error {
            $(#[doc = $doc]
            pub fn $name(message: impl Into<String>) -> Self {
                Error::new(ErrorKind::$kind, message)
            })*
        }
    };
}

constructors! {
    shape Shape "An [`ErrorKind::Shape`] error.",
    dtype DType "An [`ErrorKind::DType`] error.",
    value Value "An [`ErrorKind::Value`] error.",
    model Model "An [`ErrorKind::Model`] error.",
    device Device "An [`ErrorKind::Device`] error.",
    out_of_memory OutOfMemory "An [`ErrorKind::OutOfMemory`] error.",
    io Io "An [`ErrorKind::Io`] error.",
    format Format "An [`ErrorKind::Format`] error.",
    unsupported Unsupported "An [`ErrorKind::Unsupported`] error.",
}

#[cfg(test)]
mod tests {
    use super::Error;

    #[test]
    fn numbers_that_differ_are_none() {
        let error = |batch: usize| {
            Error::shape(format!("{batch} and ({batch}, 4)2")).context(format!("layer of {}", 2 * batch))
        };
        assert_eq!(error(2).generalized(&error(31)).to_string(), "layer of None: None and (None, 4)2");
        assert_eq!(error(2).generalized(&error(2)).to_string(), "layer of 4: 2 and (2, 4)2");
        // Other words say something else.
        let other = Error::shape("31 or (31, 4)2").context("layer of 4");
        assert_eq!(error(2).generalized(&other).to_string(), "layer of 4: 2 and (2, 4)2");
        assert_eq!(error(2).generalized(&Error::shape("31 and (31, 4)2")).to_string(), "layer of 4: 2 and (2, 4)2");
    }
}
