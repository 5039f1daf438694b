//! Protocol buffers, written by hand: the few kinds of fields that TensorBoard's event files and ONNX files have.

use std::borrow::Cow;

/// A message. Long contents are borrowed until all is written.
#[derive(Clone, Debug, Default)]
pub(crate) struct Message<'a> {
    parts: Vec<Cow<'a, [u8]>>,
    len: usize,
}

impl<'a> Message<'a> {
    pub fn new() -> Self {
        Message::default()
    }

    /// A number without a sign, a truth value, or a variant.
    #[must_use]
    pub fn uint(self, field: u32, value: u64) -> Self {
        self.tag(field, 0).varint(value)
    }

    /// A number with a sign (`int64`, not `sint64`).
    #[must_use]
    pub fn int(self, field: u32, value: i64) -> Self {
        // Two's complement.
        self.uint(field, value as u64)
    }

    #[must_use]
    #[cfg_attr(target_arch = "wasm32", allow(dead_code, reason = "for event files, which a browser has not"))]
    pub fn double(self, field: u32, value: f64) -> Self {
        self.tag(field, 1).raw(&value.to_le_bytes())
    }

    #[must_use]
    pub fn float(self, field: u32, value: f32) -> Self {
        self.tag(field, 5).raw(&value.to_le_bytes())
    }

    /// Bytes, or text.
    #[must_use]
    pub fn bytes(self, field: u32, value: impl AsRef<[u8]>) -> Self {
        let value = value.as_ref();
        self.tag(field, 2).varint(value.len() as u64).raw(value)
    }

    /// Bytes that are not copied.
    #[must_use]
    pub fn borrowed(self, field: u32, value: &'a [u8]) -> Self {
        let mut message = self.tag(field, 2).varint(value.len() as u64);
        message.len += value.len();
        message.parts.push(Cow::Borrowed(value));
        message
    }

    #[must_use]
    pub fn message(self, field: u32, inner: Message<'a>) -> Self {
        let mut message = self.tag(field, 2).varint(inner.len as u64);
        for part in inner.parts {
            match part {
                Cow::Owned(bytes) => message = message.raw(&bytes),
                Cow::Borrowed(bytes) => {
                    message.len += bytes.len();
                    message.parts.push(Cow::Borrowed(bytes));
                }
            }
        }
        message
    }

    /// One message for each element of a list.
    #[must_use]
    pub fn messages(self, field: u32, inner: impl IntoIterator<Item = Message<'a>>) -> Self {
        inner.into_iter().fold(self, |message, inner| message.message(field, inner))
    }

    /// Number of bytes.
    pub fn len(&self) -> usize {
        self.len
    }

    pub fn to_bytes(&self) -> Vec<u8> {
        self.parts.concat()
    }

    fn tag(self, field: u32, kind: u64) -> Self {
        self.varint(u64::from(field) << 3 | kind)
    }

    fn varint(self, mut value: u64) -> Self {
        let mut bytes = Vec::with_capacity(10);
        while value >= 0x80 {
            bytes.push(value as u8 | 0x80);
            value >>= 7;
        }
        bytes.push(value as u8);
        self.raw(&bytes)
    }

    fn raw(mut self, bytes: &[u8]) -> Self {
        self.len += bytes.len();
        match self.parts.last_mut() {
            Some(Cow::Owned(last)) => last.extend_from_slice(bytes),
            _ => self.parts.push(Cow::Owned(bytes.to_vec())),
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::Message;

    /// The examples of the format's description (protobuf.dev/programming-guides/encoding), and a field of each other kind.
    #[test]
    fn fields() {
        assert_eq!(Message::new().uint(1, 150).to_bytes(), [0x08, 0x96, 0x01]);
        assert_eq!(Message::new().int(1, -2).to_bytes(), [0x08, 0xfe, 255, 255, 255, 255, 255, 255, 255, 255, 0x01]);
        assert_eq!(Message::new().bytes(2, "testing").to_bytes(), b"\x12\x07testing");
        assert_eq!(Message::new().message(3, Message::new().uint(1, 150)).to_bytes(), [0x1a, 0x03, 0x08, 0x96, 0x01]);
        assert_eq!(Message::new().float(2, 1.0).to_bytes(), [0x15, 0, 0, 0x80, 0x3f]);
        assert_eq!(Message::new().double(1, 1.0).to_bytes(), [0x09, 0, 0, 0, 0, 0, 0, 0xf0, 0x3f]);
    }

    #[test]
    fn borrowed_bytes_are_in_place() {
        let long = vec![7; 300];
        let inner = Message::new().uint(1, 1).borrowed(9, &long).uint(2, 2);
        let outer = Message::new().messages(5, [inner.clone(), inner]);
        let want = [&[0x2a, 0xb3, 0x02, 0x08, 1, 0x4a, 0xac, 0x02], &long[..], &[0x10, 2]].concat();
        assert_eq!(outer.to_bytes(), want.repeat(2));
        assert_eq!(outer.len(), 2 * want.len());
    }
}
