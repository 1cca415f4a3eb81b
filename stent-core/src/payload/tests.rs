//! An encoded value comes back as the same value, or is refused.
#![expect(clippy::disallowed_types, reason = "applications have hash maps")]

use std::collections::{BTreeMap, HashMap};
use std::fmt::Debug;

use serde_json::value::RawValue;

use super::*;

const BOTH: [Codec; 2] = [Codec::Cbor, Codec::Json];

/// Whether a value came back unchanged. A value that is accepted and then lost or changed fails the test.
fn comes_back<T: Serialize + DeserializeOwned + PartialEq + Debug>(codec: Codec, value: &T) -> bool {
    let Ok(payload) = codec.encode(value) else { return false };
    match payload.decode::<T>() {
        Ok(back) => assert_eq!(&back, value, "{codec:?} gives another value back"),
        Err(error) => panic!("{codec:?} took {value:?} and cannot read it: {error}"),
    }
    true
}

/// Both codecs encode the value and return it.
fn kept<T: Serialize + DeserializeOwned + PartialEq + Debug>(value: T) {
    for codec in BOTH {
        assert!(comes_back(codec, &value), "{codec:?} refuses {value:?}");
    }
}

/// Both codecs refuse the value, with this message.
fn refused<T: Serialize + DeserializeOwned + PartialEq + Debug>(value: T, says: &str) {
    for codec in BOTH {
        assert!(!comes_back(codec, &value), "{codec:?} takes {value:?}");
        let error = codec.encode(&value).expect_err("refused").to_string();
        assert!(error.contains(says), "{codec:?}: {error}");
    }
}

#[test]
fn both_codecs_return_what_they_were_given() {
    kept(BTreeMap::from([("a".to_owned(), vec![1_u8, 2]), (String::new(), vec![])]));
}

#[test]
fn cbor_keeps_keys_that_json_cannot() {
    let value = BTreeMap::from([((1, true), 2)]);
    assert!(comes_back(Codec::Cbor, &value));
    assert!(Codec::Json.encode(&value).is_err());
}

#[test]
fn a_wrong_type_is_named() {
    let payload = Codec::Cbor.encode(&"text".to_owned()).expect("encodes");
    let error = payload.decode::<u32>().expect_err("a text is no number");
    assert!(error.to_string().contains("u32"), "{error}");
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Unit;

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Newtype<T>(T);

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Field<T> {
    note: T,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
enum Choice<T> {
    Of(T),
    Both(T, T),
    Named { one: T },
    Neither,
}

#[test]
fn a_some_of_nothing_is_refused_wherever_it_is() {
    refused(Some(None::<u8>), "`Some(None)` would be read as `None`");
    refused(Some(()), "`Some(())`");
    refused(Some(Unit), "`Some(Unit)`");
    refused(Some(Newtype(None::<u8>)), "`Some(None)`");
    refused(Some(Newtype(())), "`Some(())`");
    refused(Some(Some(None::<u8>)), "`Some(None)`");
    refused(Some(serde_json::Value::Null), "`Some(())`");
    refused(vec![Field { note: Some(None::<u8>) }], "at `[0].note`");
    refused((7, BTreeMap::from([("a".to_owned(), Choice::Both(Some(()), None))])), "at `[1][0][0]`");
    refused(Choice::Named { one: Some(None::<u8>) }, "at `.one`");
}

#[test]
fn options_that_can_be_told_apart_are_kept() {
    kept((None::<Option<u8>>, Some(Some(1_u8)), ()));
    kept((Some(Field { note: None::<u8> }), Some(vec![None::<u8>]), Unit));
    kept((Some(Choice::Of(None::<u8>)), Some(Choice::<u8>::Neither), Choice::Of(())));
    kept((Some(String::new()), Some(0), Some(false), Some([(); 0]), Some(Vec::<()>::new()), vec![(), ()]));
    kept(serde_json::json!({"a": null, "b": [null, 1.5, "x"]}));
}

#[test]
fn json_refuses_numbers_that_it_does_not_have() {
    for value in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        assert!(
            Codec::Json.encode(&vec![1.0, value]).is_err_and(|error| error.to_string().contains("at `[1]`"))
        );
        assert!(Codec::Json.encode(&Some(value as f32)).is_err());
        assert!(Codec::Json.encode_for_any(&value).is_err());
        let back: f64 = Codec::Cbor.encode(&value).expect("encodes").decode().expect("decodes");
        assert!(back == value || (back.is_nan() && value.is_nan()));
    }
}

#[test]
fn numbers_keep_every_digit() {
    kept((u128::MAX, i128::MIN, i128::MAX, u64::MAX, i64::MIN));
    kept((f64::MAX, f64::MIN_POSITIVE, 5e-324, -0.0_f64, 0.1 + 0.2, f32::MAX, f32::MIN_POSITIVE));
    // Random, because a parser that is off by the last bit is right about most numbers.
    let mut bits = 0x9e37_79b9_7f4a_7c15_u64;
    let drawn: Vec<f64> = std::iter::repeat_with(|| {
        bits ^= bits << 13;
        bits ^= bits >> 7;
        bits ^= bits << 17;
        f64::from_bits(bits)
    })
    .filter(|value| value.is_finite())
    .take(2_000)
    .collect();
    drawn.iter().map(|value| *value as f32).filter(|value| value.is_finite()).for_each(kept);
    drawn.into_iter().for_each(kept);
}

#[test]
fn texts_bytes_and_chars_are_kept() {
    kept(("a\0b\u{ffff}\u{10ffff}\u{feff}\"\\".to_owned(), '\0', '\u{10ffff}', '\u{d7ff}'));
    kept(serde_bytes::ByteBuf::from(vec![0, 255, 128]));
    kept(BTreeMap::from([('x', 1), ('\0', 2)]));
    kept(HashMap::from([("\0".to_owned(), 1), (String::new(), 2)]));
    kept(BTreeMap::from([(Choice2::A, 1)]));
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
enum Choice2 {
    A,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Flat<T> {
    #[serde(flatten)]
    inner: Field<T>,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind")]
enum Tagged<T> {
    One { note: T },
    Two(Field<T>),
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
enum Untagged<T> {
    One(T),
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
enum Buffered<T> {
    Of { note: T },
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", content = "value")]
enum Adjacent<T> {
    One(T),
}

#[test]
fn integers_that_serde_cannot_buffer_are_refused() {
    let says = "its type cannot read back what it writes";
    for wide in [0, u128::from(u64::MAX) + 1, u128::MAX] {
        refused(Flat { inner: Field { note: wide } }, says);
        refused(Tagged::One { note: wide }, says);
        refused(Tagged::Two(Field { note: wide }), says);
        refused(vec![Untagged::One(wide)], says);
        kept(Adjacent::One(wide));
        BOTH.into_iter().for_each(|codec| {
            let error = codec.encode_for_any(&wide).expect_err("nobody knows who reads it").to_string();
            assert!(error.contains("a 128-bit integer, which only some types can read back"), "{error}");
        });
    }
    refused(Flat { inner: Field { note: i128::MIN } }, says);
    kept((Flat { inner: Field { note: u64::MAX } }, Tagged::One { note: i64::MIN }, Untagged::One(7)));
}

/// Whether values that serde buffers come back or are refused: `comes_back` fails for any third result.
#[test]
fn what_serde_buffers_comes_back_or_is_refused() {
    fn all<T: Serialize + DeserializeOwned + PartialEq + Debug + Clone>(value: T) {
        for codec in BOTH {
            comes_back(codec, &Flat { inner: Field { note: value.clone() } });
            comes_back(codec, &Tagged::One { note: value.clone() });
            comes_back(codec, &Tagged::Two(Field { note: value.clone() }));
            comes_back(codec, &Buffered::Of { note: value.clone() });
            comes_back(codec, &Adjacent::One(value.clone()));
        }
    }
    all(());
    all(None::<u8>);
    all(Some(1));
    all('x');
    all(1.5_f32);
    all(i64::MIN);
    all(serde_bytes::ByteBuf::from(vec![0, 255]));
    all(BTreeMap::from([(1, 2)]));
    all(BTreeMap::from([(true, 2)]));
    all(BTreeMap::from([(String::from("a"), Some(()))]));
    all(serde_json::json!([null, {"a": 1.0}]));
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Extra {
    name: String,
    #[serde(flatten)]
    extra: BTreeMap<String, String>,
}

#[test]
fn a_key_that_is_there_twice_is_refused() {
    let extra = |key: &str| Extra { name: "kim".into(), extra: BTreeMap::from([(key.into(), "x".into())]) };
    kept(extra("other"));
    refused(extra("name"), "it contains the key \"name\" twice");
    for codec in BOTH {
        assert!(codec.encode_for_any(&extra("name")).is_err());
    }
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct OneWay {
    #[serde(skip_serializing)]
    secret: u8,
}

#[test]
fn a_type_that_does_not_read_what_it_writes_is_refused() {
    refused(OneWay { secret: 7 }, "missing field `secret`");
}

#[test]
fn raw_json_stays_in_json() {
    let raw = RawValue::from_string("[1, 2]".into()).expect("JSON");
    assert!(Codec::Cbor.encode(&raw).is_err() && Codec::Cbor.encode_for_any(&raw).is_err());
    let back: Box<RawValue> = Codec::Json.encode(&raw).expect("encodes").decode().expect("decodes");
    assert_eq!(back.get(), raw.get());
}

/// As deep as its length. It is dropped level by level, as any type that may be nested without a bound must be.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Chain {
    next: Option<Box<Self>>,
}

impl Chain {
    fn new(levels: usize) -> Self {
        (1..levels).fold(Self { next: None }, |chain, _| Self { next: Some(Box::new(chain)) })
    }
}

impl Drop for Chain {
    fn drop(&mut self) {
        let mut next = self.next.take();
        while let Some(mut chain) = next {
            next = chain.next.take();
        }
    }
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
enum Tree {
    Leaf,
    Node(Vec<Self>),
}

fn tree(nodes: usize) -> Tree {
    (0..nodes).fold(Tree::Leaf, |tree, _| Tree::Node(vec![tree]))
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Hollow(Option<Box<Self>>);

#[test]
fn what_is_deeper_than_its_codec_reads_is_refused() {
    for (codec, max) in [(Codec::Cbor, 256), (Codec::Json, 127)] {
        assert!(comes_back(codec, &Chain::new(max)), "{codec:?}");
        assert!(!comes_back(codec, &Chain::new(max + 1)), "{codec:?}");
        // A node is an enum and a list.
        assert!(comes_back(codec, &tree((max - 1) / 2)), "{codec:?}");
        assert!(!comes_back(codec, &tree(max / 2 + 1)), "{codec:?}");
        let error = codec.encode(&Chain::new(max + 1)).expect_err("is too deep");
        assert!(
            error.is_deep() && error.to_string().contains(&format!("more than {max} levels deep")),
            "{error}"
        );
    }
    assert!(Codec::Json.encode_for_any(&Chain::new(128)).is_err_and(|error| error.is_deep()));
}

/// With the stack of a worker's thread, in the build that needs the most stack.
#[test]
fn no_depth_overflows_the_stack() {
    let work = || {
        for codec in BOTH {
            assert!(codec.encode(&Chain::new(100_000)).is_err_and(|error| error.is_deep()));
            assert!(comes_back(codec, &Chain::new(codec.depth_max().into())));
            assert!(comes_back(codec, &tree(usize::from(codec.depth_max() - 1) / 2)));
            // Levels that the codecs do not write.
            let hollow = (0..20_000).fold(Hollow(None), |inner, _| Hollow(Some(Box::new(inner))));
            assert!(codec.encode(&hollow).is_err());
        }
    };
    std::thread::Builder::new()
        .stack_size(2 * 1024 * 1024)
        .spawn(work)
        .expect("a thread")
        .join()
        .expect("no overflow");
}
