//! Values as bytes, for columns that hold many of them: numbers of seven bits per byte, texts with their length, and a
//! checksum at the end.
//!
//! Reading never panics and never takes more memory than the bytes warrant: what makes no sense is [`Damaged`].

/// Bytes that nobody wrote like this.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Damaged {
    #[error("its checksum is wrong")]
    Checksum,
    #[error("it is of version {0}, which this till does not know")]
    Version(u8),
    #[error("it can't be read")]
    Content,
}

/// Bytes of the checksum.
const CHECKSUM: usize = 4;

/// Where bytes go, one at a time.
pub(super) trait Put {
    fn put(&mut self, byte: u8);
}

impl Put for Vec<u8> {
    #[inline]
    fn put(&mut self, byte: u8) {
        self.push(byte);
    }
}

/// A few bytes on their way to memory that may have to grow, which is then asked once and not for each of them. Whoever
/// puts more than it holds has a fault in the program.
pub(super) struct Short<const N: usize> {
    bytes: [u8; N],
    length: usize,
}

impl<const N: usize> Short<N> {
    #[inline]
    pub(super) fn new() -> Self {
        Self { bytes: [0; N], length: 0 }
    }

    /// How many bytes are in it.
    #[inline]
    pub(super) fn len(&self) -> usize {
        self.length
    }

    /// Forgets those after the first `length`.
    #[inline]
    pub(super) fn truncate(&mut self, length: usize) {
        self.length = self.length.min(length);
    }

    /// Moves what is in it to the end of `to`.
    #[inline]
    pub(super) fn move_to(&mut self, to: &mut Vec<u8>) {
        to.extend_from_slice(&self.bytes[..self.length]);
        self.length = 0;
    }
}

impl<const N: usize> Put for Short<N> {
    #[inline]
    fn put(&mut self, byte: u8) {
        self.bytes[self.length] = byte;
        self.length += 1;
    }
}

/// The most bytes that [`put_u64`] and [`put_optional`] take, and [`put_u128`].
pub(super) const U64_MAX: usize = 10;
pub(super) const U128_MAX: usize = 19;

#[inline]
pub(super) fn put_u64(to: &mut impl Put, mut number: u64) {
    while number >= 0x80 {
        to.put(number.to_le_bytes()[0] | 0x80);
        number >>= 7;
    }
    to.put(number.to_le_bytes()[0]);
}

pub(super) fn put_u128(to: &mut impl Put, mut number: u128) {
    while number >= 0x80 {
        to.put(number.to_le_bytes()[0] | 0x80);
        number >>= 7;
    }
    to.put(number.to_le_bytes()[0]);
}

#[inline]
pub(super) fn put_len(to: &mut impl Put, length: usize) {
    put_u64(to, length as u64);
}

/// Nothing, or a number below 2⁶⁴−1; the highest one is kept as well, in more bytes.
#[inline]
pub(super) fn put_optional(to: &mut impl Put, number: Option<u64>) {
    match number {
        None => to.put(0),
        Some(u64::MAX) => put_u128(to, 1 << 64),
        Some(number) => put_u64(to, number + 1),
    }
}

/// The way from one number to another: short when they are close, in either direction.
#[inline]
pub(super) fn put_step(to: &mut impl Put, from: u64, number: u64) {
    let step = number.wrapping_sub(from).cast_signed();
    put_u64(to, ((step << 1) ^ (step >> 63)).cast_unsigned());
}

pub(super) fn put_bytes(to: &mut Vec<u8>, bytes: &[u8]) {
    put_len(to, bytes.len());
    to.extend_from_slice(bytes);
}

pub(super) fn put_text(to: &mut Vec<u8>, text: &str) {
    put_bytes(to, text.as_bytes());
}

/// Adds the checksum of everything before it.
pub(super) fn seal(to: &mut Vec<u8>) {
    let checksum = crc32fast::hash(to);
    to.extend_from_slice(&checksum.to_le_bytes());
}

/// Bytes that are read from the front.
#[derive(Clone, Debug)]
pub(super) struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// What is between the version, which must be this one, and a right checksum.
    pub(super) fn unseal(sealed: &'a [u8], version: u8) -> Result<Self, Damaged> {
        let (content, checksum) = sealed.split_last_chunk::<CHECKSUM>().ok_or(Damaged::Content)?;
        if crc32fast::hash(content).to_le_bytes() != *checksum {
            return Err(Damaged::Checksum);
        }
        match content.split_first() {
            Some((found, rest)) if *found == version => Ok(Self(rest)),
            Some((found, _)) => Err(Damaged::Version(*found)),
            None => Err(Damaged::Content),
        }
    }

    pub(super) fn byte(&mut self) -> Result<u8, Damaged> {
        let (first, rest) = self.0.split_first().ok_or(Damaged::Content)?;
        self.0 = rest;
        Ok(*first)
    }

    pub(super) fn take(&mut self, length: usize) -> Result<&'a [u8], Damaged> {
        let (taken, rest) = self.0.split_at_checked(length).ok_or(Damaged::Content)?;
        self.0 = rest;
        Ok(taken)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], Damaged> {
        let (taken, rest) = self.0.split_first_chunk::<N>().ok_or(Damaged::Content)?;
        self.0 = rest;
        Ok(*taken)
    }

    #[inline]
    pub(super) fn u64(&mut self) -> Result<u64, Damaged> {
        // Nearly all numbers are small.
        if let Some((first, rest)) = self.0.split_first()
            && *first < 0x80
        {
            self.0 = rest;
            return Ok((*first).into());
        }
        self.long_u64()
    }

    fn long_u64(&mut self) -> Result<u64, Damaged> {
        let mut number = 0;
        for shift in (0..u64::BITS).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            let shifted = bits << shift;
            if shifted >> shift != bits {
                break;
            }
            number |= shifted;
            if byte < 0x80 {
                return Ok(number);
            }
        }
        Err(Damaged::Content)
    }

    pub(super) fn u128(&mut self) -> Result<u128, Damaged> {
        let mut number = 0;
        for shift in (0..u128::BITS).step_by(7) {
            let byte = self.byte()?;
            let bits = u128::from(byte & 0x7f);
            let shifted = bits << shift;
            if shifted >> shift != bits {
                return Err(Damaged::Content);
            }
            number |= shifted;
            if byte < 0x80 {
                return Ok(number);
            }
        }
        Err(Damaged::Content)
    }

    pub(super) fn optional(&mut self) -> Result<Option<u64>, Damaged> {
        match self.u128()?.checked_sub(1) {
            None => Ok(None),
            Some(number) => u64::try_from(number).map(Some).map_err(|_| Damaged::Content),
        }
    }

    pub(super) fn step(&mut self, from: u64) -> Result<u64, Damaged> {
        let step = self.u64()?;
        Ok(from.wrapping_add((step >> 1) ^ (step & 1).wrapping_neg()))
    }

    pub(super) fn len(&mut self) -> Result<usize, Damaged> {
        usize::try_from(self.u64()?).map_err(|_| Damaged::Content)
    }

    /// How many things follow, of which each takes at least a byte.
    pub(super) fn count(&mut self) -> Result<usize, Damaged> {
        let count = self.len()?;
        if count > self.0.len() { Err(Damaged::Content) } else { Ok(count) }
    }

    pub(super) fn bytes(&mut self) -> Result<&'a [u8], Damaged> {
        let length = self.len()?;
        self.take(length)
    }

    pub(super) fn text(&mut self) -> Result<&'a str, Damaged> {
        std::str::from_utf8(self.bytes()?).map_err(|_| Damaged::Content)
    }

    /// Everything that is left.
    pub(super) fn rest(self) -> &'a [u8] {
        self.0
    }

    /// Nothing may be left over.
    pub(super) fn end(self) -> Result<(), Damaged> {
        if self.0.is_empty() { Ok(()) } else { Err(Damaged::Content) }
    }
}

/// The same with one to three bits flipped, or back again.
#[cfg(test)]
pub(super) fn with_flipped_bits(sound: &[u8], random: &mut crate::conformance::waiting::Random) -> Vec<u8> {
    let mut damaged = sound.to_vec();
    for _ in 0..=random.below(3) {
        let at = random.index(damaged.len());
        damaged[at] ^= 1 << random.below(8);
    }
    damaged
}

#[cfg(test)]
mod tests {
    use super::{Bytes, Damaged, put_optional, put_step, put_u64, put_u128, seal};

    #[test]
    fn numbers_of_every_size_round_trip() {
        let numbers = (0..=128).flat_map(|bits: u32| {
            let power = 1_u128.checked_shl(bits).unwrap_or(0);
            [power.wrapping_sub(1), power, power.wrapping_add(1)]
        });
        for number in numbers {
            let mut to = Vec::new();
            put_u128(&mut to, number);
            let mut bytes = Bytes(&to);
            assert_eq!(bytes.u128(), Ok(number));
            assert_eq!(bytes.end(), Ok(()));
            let Ok(small) = u64::try_from(number) else {
                assert_eq!(Bytes(&to).u64(), Err(Damaged::Content));
                continue;
            };
            let mut to = Vec::new();
            put_u64(&mut to, small);
            put_optional(&mut to, Some(small));
            put_optional(&mut to, None);
            for other in [0, 1, small.wrapping_add(1), small.wrapping_sub(1), u64::MAX] {
                put_step(&mut to, other, small);
            }
            let mut bytes = Bytes(&to);
            assert_eq!(
                (bytes.u64(), bytes.optional(), bytes.optional()),
                (Ok(small), Ok(Some(small)), Ok(None))
            );
            for other in [0, 1, small.wrapping_add(1), small.wrapping_sub(1), u64::MAX] {
                assert_eq!(bytes.step(other), Ok(small));
            }
            assert_eq!(bytes.end(), Ok(()));
        }
    }

    #[test]
    fn what_nobody_wrote_is_damaged() {
        for damaged in [&[][..], &[0x80], &[0xff; 19], &[0xff; 30]] {
            assert_eq!(Bytes(damaged).u128(), Err(Damaged::Content), "{damaged:?}");
        }
        assert_eq!(Bytes(&[200, 1, 2]).count(), Err(Damaged::Content));
        assert_eq!(Bytes(&[3, 1, 2]).bytes(), Err(Damaged::Content));
        assert_eq!(Bytes(&[1, 0xff]).text(), Err(Damaged::Content));
        let mut sealed = vec![1, 2, 3];
        seal(&mut sealed);
        assert_eq!(Bytes::unseal(&sealed, 1).unwrap().take(2), Ok(&[2, 3][..]));
        assert_eq!(Bytes::unseal(&sealed, 2).unwrap_err(), Damaged::Version(1));
        for at in 0..sealed.len() {
            let mut flipped = sealed.clone();
            flipped[at] ^= 4;
            assert_eq!(Bytes::unseal(&flipped, 1).unwrap_err(), Damaged::Checksum);
            assert!(Bytes::unseal(&sealed[..at], 1).is_err());
        }
        assert!(Bytes::unseal(&[0; 4], 0).is_err(), "no version");
    }
}
