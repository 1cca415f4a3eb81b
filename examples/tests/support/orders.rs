//! The orders that come with the example `batch`: random from a fixed seed, with totals that are computed while drawing, not
//! from the file.

use std::collections::BTreeMap;
use std::fmt::Write;

/// The number of rows.
pub(crate) const ROWS: u64 = 10_000;

/// About one row in this many is bad.
const ONE_BAD_IN: u64 = 66;

const CUSTOMERS: &[&str] = &[
    "Kim Andersen",
    "Łukasz Nowak",
    "\"Hoffmann, Eva\"",
    "Zoë Leclerc",
    "Maria da Silva",
    "\"O'Neill & Sons, Ltd.\"",
    "Jun Watanabe",
    "\"\"\"Blue\"\" Bikes\"",
];

/// Articles and their prices in cents.
const ARTICLES: &[(&str, u64)] = &[
    ("bell", 899),
    ("brake pads", 1_250),
    ("chain", 2_495),
    ("frame", 84_900),
    ("gloves", 1_999),
    ("light", 3_405),
    ("pedals", 4_260),
    ("saddle", 5_900),
];

/// Countries and their currencies.
const COUNTRIES: &[(&str, &str)] =
    &[("DE", "EUR"), ("FR", "EUR"), ("IE", "EUR"), ("CH", "CHF"), ("GB", "GBP"), ("US", "USD")];

/// The file, and the expected results.
#[derive(Debug, Default)]
pub(crate) struct Orders {
    pub(crate) text: String,
    /// Orders and cents by currency.
    pub(crate) totals: BTreeMap<&'static str, (u64, u64)>,
    /// The bad lines, and a part of the message for each.
    pub(crate) bad: Vec<(u64, &'static str)>,
}

impl Orders {
    pub(crate) fn draw() -> Self {
        let mut chance = Chance(2026);
        let mut orders = Self::default();
        orders.text.push_str("order,date,customer,country,article,quantity,unit_price,currency\n");
        for row in 0..ROWS {
            orders.add(row, &mut chance);
        }
        orders
    }

    fn add(&mut self, row: u64, chance: &mut Chance) {
        let (country, currency) = COUNTRIES[chance.below(COUNTRIES.len())];
        let (article, listed) = ARTICLES[chance.below(ARTICLES.len())];
        // Some rows get a discount of a few cents, so that sums are not round.
        let price = listed - chance.below(8) as u64;
        let count = 1 + chance.below(12) as u64;
        let mut fields = [
            (100_001 + row).to_string(),
            format!("2026-{:02}-{:02}", 1 + chance.below(6), 1 + chance.below(28)),
            CUSTOMERS[chance.below(CUSTOMERS.len())].to_owned(),
            country.to_owned(),
            article.to_owned(),
            count.to_string(),
            format!("{}.{:02}", price / 100, price % 100),
            currency.to_owned(),
        ];

        let is_bad = chance.below(ONE_BAD_IN as usize) == 0;
        let mut kept = fields.len();
        if is_bad {
            let problem = match chance.below(8) {
                0 => {
                    kept = 6;
                    "6 fields instead of 8"
                }
                1 => {
                    fields[2].clear();
                    "`customer` is missing"
                }
                2 => {
                    fields[7].clear();
                    "`currency` is missing"
                }
                3 => {
                    fields[5].push('x');
                    "`quantity`: invalid digit"
                }
                4 => {
                    fields[5] = "0".to_owned();
                    "expected a nonzero"
                }
                5 => {
                    fields[6] = format!("\"{},{:02}\"", price / 100, price % 100);
                    "is not a price"
                }
                6 => {
                    fields[7] = "EURO".to_owned();
                    "unknown variant `EURO`"
                }
                _ => {
                    fields[0] = "n/a".to_owned();
                    "`order`: invalid digit"
                }
            };
            // The header is the first line.
            self.bad.push((row + 2, problem));
        } else {
            let total = self.totals.entry(currency).or_default();
            *total = (total.0 + 1, total.1 + count * price);
        }
        writeln!(self.text, "{}", fields[..kept].join(",")).expect("a text takes all");
    }
}

/// SplitMix64: the same numbers on every machine.
struct Chance(u64);

impl Chance {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) % end as u64) as usize
    }
}
