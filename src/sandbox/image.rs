//! An uploaded image: whether it is one, and how large it is.

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

use super::reply::Code;
use super::request::{Parameters, Value};

/// The smallest image that is taken, in bytes.
const MIN_BYTES: usize = 100;
/// The largest image that is taken, in bytes: 100 kB.
const MAX_BYTES: usize = 100 * 1024;
/// The largest image with an instruction, in bytes: 25 kB.
const MAX_INSTRUCTION_BYTES: usize = 25 * 1024;
/// The widest and highest image with an instruction, in pixels.
const MAX_INSTRUCTION_SIDE: u32 = 100;

/// Base64 as a web server of the provider's kind reads it: padding or not, and stray bits ignored.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

/// Width and height in pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ImageSize {
    pub(super) width: u32,
    pub(super) height: u32,
}

/// The size of an image that is to be solved.
///
/// # Errors
/// When it is too small or too large in bytes, or no JPEG, GIF or PNG by its content.
pub(super) fn check(bytes: &[u8]) -> Result<ImageSize, Code> {
    if bytes.len() < MIN_BYTES {
        return Err(Code::TOO_SMALL);
    }
    if bytes.len() > MAX_BYTES {
        return Err(Code::TOO_BIG);
    }
    measure(bytes)
}

/// Checks an image that only tells workers what to do: `imginstructions`, a file or base64 text.
/// `false` when there is none.
pub(super) fn check_instruction(parameters: &Parameters) -> Result<bool, Code> {
    let Some(bytes) = upload(parameters, "imginstructions").transpose()? else {
        return Ok(false);
    };
    if bytes.len() > MAX_INSTRUCTION_BYTES {
        return Err(Code::TOO_BIG);
    }
    let size = measure(&bytes)?;
    if size.width > MAX_INSTRUCTION_SIDE || size.height > MAX_INSTRUCTION_SIDE {
        return Err(Code::BAD_PARAMETERS);
    }
    Ok(true)
}

/// A parameter that is a file or base64 text; `None` when it is missing or empty.
pub(super) fn upload(parameters: &Parameters, name: &str) -> Option<Result<Vec<u8>, Code>> {
    let value = parameters.iter().find(|(given, _)| *given == name)?.1;
    match value {
        Value::File(bytes) if bytes.is_empty() => None,
        Value::File(bytes) => Some(Ok(bytes.to_vec())),
        Value::Text(text) if text.is_empty() => None,
        Value::Text(text) => Some(decode_base64(text)),
    }
}

/// The bytes behind base64 text, with or without a `data:` prefix, padding and line breaks. A blank
/// stands for a plus that was not percent-encoded.
///
/// # Errors
/// When it holds anything else: nobody can tell what image it was to be.
pub(super) fn decode_base64(text: &str) -> Result<Vec<u8>, Code> {
    let digits = match text.strip_prefix("data:") {
        Some(data) => data.split_once(',').ok_or(Code::IMAGE_TYPE)?.1,
        None => text,
    };
    let digits: Vec<u8> = digits
        .bytes()
        .filter(|byte| !matches!(byte, b'\r' | b'\n' | b'\t'))
        .map(|byte| if byte == b' ' { b'+' } else { byte })
        .collect();
    BASE64.decode(digits).map_err(|_| Code::IMAGE_TYPE)
}

/// Width and height of an image of a type that the provider takes.
pub(super) fn measure(bytes: &[u8]) -> Result<ImageSize, Code> {
    const ACCEPTED: [&[u8]; 4] = [b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF87a", b"GIF89a"];
    if !ACCEPTED.iter().any(|start| bytes.starts_with(start)) {
        return Err(if is_other_image(bytes) { Code::WRONG_FILE_EXTENSION } else { Code::IMAGE_TYPE });
    }
    let size = imagesize::blob_size(bytes).map_err(|_| Code::IMAGE_TYPE)?;
    match (u32::try_from(size.width), u32::try_from(size.height)) {
        (Ok(width @ 1..), Ok(height @ 1..)) => Ok(ImageSize { width, height }),
        _ => Err(Code::IMAGE_TYPE),
    }
}

/// The media type of an image that was measured.
pub(super) fn media_type(bytes: &[u8]) -> &'static str {
    match bytes.first() {
        Some(b'G') => "image/gif",
        Some(0x89) => "image/png",
        _ => "image/jpeg",
    }
}

/// Whether this is an image of a well-known type that the provider does not take: BMP, TIFF, WebP,
/// ICO, HEIF or AVIF, SVG.
fn is_other_image(bytes: &[u8]) -> bool {
    const OTHERS: [&[u8]; 6] = [b"BM", b"II*\0", b"MM\0*", b"\0\0\x01\0", b"<svg", b"<?xml"];
    let at = |offset: usize, mark: &[u8]| bytes.get(offset..).is_some_and(|rest| rest.starts_with(mark));
    OTHERS.iter().any(|start| bytes.starts_with(start))
        || (at(0, b"RIFF") && at(8, b"WEBP"))
        || at(4, b"ftyp")
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A GIF of this size, padded to `bytes` bytes.
    pub(in crate::sandbox) fn gif(width: u16, height: u16, bytes: usize) -> Vec<u8> {
        let mut gif = b"GIF89a".to_vec();
        gif.extend(width.to_le_bytes());
        gif.extend(height.to_le_bytes());
        gif.resize(bytes, 0);
        gif
    }

    #[test]
    fn an_image_has_100_bytes_to_100_kilobytes() {
        let size = ImageSize { width: 120, height: 40 };
        assert_eq!(check(&gif(120, 40, 99)), Err(Code::TOO_SMALL));
        assert_eq!(check(&gif(120, 40, 100)), Ok(size));
        assert_eq!(check(&gif(120, 40, 102_400)), Ok(size));
        assert_eq!(check(&gif(120, 40, 102_401)), Err(Code::TOO_BIG));
    }

    #[test]
    fn the_content_decides_the_type() {
        let padded = |start: &[u8]| [start, &[0; 200]].concat();
        assert_eq!(check(&padded(b"BM")), Err(Code::WRONG_FILE_EXTENSION));
        assert_eq!(check(&padded(b"RIFF\0\0\0\0WEBP")), Err(Code::WRONG_FILE_EXTENSION));
        assert_eq!(check(&padded(b"hello")), Err(Code::IMAGE_TYPE));
        assert_eq!(check(&padded(b"\x89PNG\r\n\x1a\n")), Err(Code::IMAGE_TYPE), "no size");
    }

    #[test]
    fn base64_is_read_with_all_its_habits() {
        for text in ["AP/+", "data:image/png;base64,AP/+", "AP\r\n/+", "AP/ ", "AP/+"] {
            assert_eq!(decode_base64(text), Ok(vec![0, 0xff, 0xfe]), "{text}");
        }
        assert_eq!(decode_base64("AA"), Ok(vec![0]));
        assert_eq!(decode_base64("A*"), Err(Code::IMAGE_TYPE));
    }
}
