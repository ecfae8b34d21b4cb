//! What the provider accepts as an image, judged by content: file names say nothing.

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use bytes::Bytes;
use imagesize::ImageType;

use super::ErrorCode;

/// The smallest image that `in.php` takes, in bytes.
const MIN_BYTES: usize = 100;
/// The largest image that `in.php` takes, in bytes: 100 kB of 1024 bytes.
pub(super) const MAX_BYTES: usize = 100 * 1024;
/// The largest instruction image, in bytes.
const INSTRUCTION_MAX_BYTES: usize = 25 * 1024;
/// The largest width and height of an instruction image, in pixels.
const INSTRUCTION_MAX_PIXELS: usize = 100;

/// Padding is taken as it comes: many encoders leave it out.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Checks a captcha image against the provider's limits; the error says what is wrong with it.
pub(super) fn check_captcha(content: &[u8]) -> Result<(), String> {
    if content.len() < MIN_BYTES && content.is_ascii() {
        return Err(format!(
            "has {} bytes, which read like text: send the image itself (with curl, file=@NAME)",
            content.len()
        ));
    }
    if content.len() < MIN_BYTES {
        return Err(format!("has {} bytes; the provider takes images from {MIN_BYTES} bytes", content.len()));
    }
    if content.len() > MAX_BYTES {
        return Err(format!(
            "has {} bytes; the provider takes images up to {MAX_BYTES} bytes (100 kB)",
            content.len()
        ));
    }
    check_type(content)
}

/// The code that the provider has for a captcha image that [`check_captcha`] refuses.
pub(super) const fn refusal(content: &[u8]) -> &'static str {
    match content.len() {
        ..MIN_BYTES => ErrorCode::ZERO_SIZE,
        MIN_BYTES..=MAX_BYTES => "ERROR_IMAGE_TYPE_NOT_SUPPORTED",
        _ => ErrorCode::TOO_BIG,
    }
}

/// Checks an instruction image (`imginstructions`) against the provider's limits.
pub(super) fn check_instruction(content: &[u8]) -> Result<(), String> {
    if content.is_empty() {
        return Err("is empty".to_owned());
    }
    if content.len() > INSTRUCTION_MAX_BYTES {
        return Err(format!(
            "has {} bytes; the provider takes instruction images up to {INSTRUCTION_MAX_BYTES} bytes (25 kB)",
            content.len()
        ));
    }
    check_type(content)?;
    let size = imagesize::blob_size(content)
        .map_err(|_| "is cut off: its width and height cannot be read".to_owned())?;
    if size.width > INSTRUCTION_MAX_PIXELS || size.height > INSTRUCTION_MAX_PIXELS {
        return Err(format!(
            "is {}×{} pixels; the provider takes instruction images up to 100×100",
            size.width, size.height
        ));
    }
    Ok(())
}

/// Whether the content starts as a jpg, jpeg, gif or png does.
pub(super) fn is_image(content: &[u8]) -> bool {
    matches!(imagesize::image_type(content), Ok(ImageType::Jpeg | ImageType::Gif | ImageType::Png))
}

/// The file extension that fits the content; the provider looks at it. `jpg` when it is no image
/// that we know.
#[must_use]
pub fn extension(content: &[u8]) -> &'static str {
    match imagesize::image_type(content) {
        Ok(ImageType::Gif) => "gif",
        Ok(ImageType::Png) => "png",
        _ => "jpg",
    }
}

/// The media type of an image that browsers may show, by its content.
#[must_use]
pub fn media_type(content: &[u8]) -> Option<&'static str> {
    match imagesize::image_type(content) {
        Ok(ImageType::Gif) => Some("image/gif"),
        Ok(ImageType::Png) => Some("image/png"),
        Ok(ImageType::Jpeg) => Some("image/jpeg"),
        _ => None,
    }
}

/// Width and height of an image in pixels; `None` where it does not say.
#[must_use]
pub fn pixels(content: &[u8]) -> Option<(u32, u32)> {
    media_type(content)?;
    let size = imagesize::blob_size(content).ok()?;
    let (width, height) = (u32::try_from(size.width).ok()?, u32::try_from(size.height).ok()?);
    (width > 0 && height > 0).then_some((width, height))
}

fn check_type(content: &[u8]) -> Result<(), String> {
    if is_image(content) { Ok(()) } else { Err("is not a jpg, jpeg, gif or png image".to_owned()) }
}

/// The bytes behind base64 text; a `data:` URI in front and white space within are dropped.
pub(super) fn from_base64(text: &str) -> Result<Bytes, String> {
    let text = match text.trim_start().strip_prefix("data:") {
        Some(uri) => {
            uri.split_once(";base64,").map(|(_, data)| data).ok_or("is a data: URI without base64")?
        }
        None => text,
    };
    let compact: Vec<u8> = text.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
    BASE64.decode(&compact).map(Bytes::from).map_err(|_| "is not base64".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The head of a PNG of this size, and as many bytes in all.
    fn png(width: u32, height: u32, bytes: usize) -> Vec<u8> {
        let mut content = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR".to_vec();
        content.extend(width.to_be_bytes());
        content.extend(height.to_be_bytes());
        content.resize(bytes, 0);
        content
    }

    #[test]
    fn a_captcha_has_100_bytes_to_100_kb() {
        assert!(check_captcha(&png(100, 40, 99)).is_err());
        assert_eq!(check_captcha(&png(100, 40, 100)), Ok(()));
        assert_eq!(check_captcha(&png(100, 40, 102_400)), Ok(()));
        assert!(check_captcha(&png(100, 40, 102_401)).is_err());
    }

    #[test]
    fn the_content_decides_what_an_image_is() {
        assert_eq!(check_captcha(&[b"GIF89a".as_slice(), &[0; 200]].concat()), Ok(()));
        assert_eq!(check_captcha(&[b"\xff\xd8\xff\xe0".as_slice(), &[0; 200]].concat()), Ok(()));
        for other in [b"BM".as_slice(), b"RIFF0000WEBP", b"<html>", b"%PDF-1.4"] {
            assert!(check_captcha(&[other, &[0; 200]].concat()).is_err());
        }
    }

    #[test]
    fn what_is_shown_to_browsers_is_an_image_by_its_content() {
        assert_eq!((media_type(&png(7, 5, 99)), pixels(&png(7, 5, 99))), (Some("image/png"), Some((7, 5))));
        assert_eq!(pixels(&png(0, 5, 99)), None);
        for other in [b"<html>".as_slice(), b"<svg xmlns='http://www.w3.org/2000/svg'/>", b"%PDF-1.4", b""] {
            assert_eq!((media_type(other), pixels(other)), (None, None));
        }
    }

    #[test]
    fn an_instruction_is_at_most_25_kb_and_100_by_100_pixels() {
        assert_eq!(check_instruction(&png(100, 100, 25_600)), Ok(()));
        assert!(check_instruction(&png(100, 100, 25_601)).is_err());
        assert!(check_instruction(&png(101, 100, 200)).is_err());
        assert!(check_instruction(&png(100, 101, 200)).is_err());
        assert!(check_instruction(b"").is_err());
        assert!(check_instruction(b"\x89PNG\r\n\x1a\n").is_err());
    }

    #[test]
    fn base64_comes_with_line_breaks_without_padding_or_as_a_data_uri() {
        for text in ["aGk=", "aGk", " aG\r\nk=\n", "data:image/png;base64,aGk="] {
            assert_eq!(from_base64(text), Ok(Bytes::from_static(b"hi")), "{text:?}");
        }
        for text in ["a", "not base64!", "data:image/png,hi"] {
            assert!(from_base64(text).is_err(), "{text:?}");
        }
    }
}
