//! All measurements of one call, in turns.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Result;

use crate::Options;
use crate::compare;
use crate::gauge::Gauge;
use crate::machine::Machine;
use crate::peers::{PeerSpec, Peers};
use crate::plan::{self, Backend, Spec};
use crate::process;
use crate::record::{Line, Record};
use crate::report::Measurement;
use crate::spread::{median, warning};

/// Something to measure.
enum Entrant {
    Stent(Spec),
    Peer(PeerSpec),
}

/// Prints a line for the machine and one for each measurement. The runs of a group alternate: what a neighbour takes from the machine
/// for a while, it takes from all of them.
pub(crate) fn all(options: &Options, dir: &Path) -> Result<()> {
    let peers = options.peers.as_deref().map(Peers::of).transpose()?;
    let earlier = Record::read(&options.compare)?;
    let mut gauges = BTreeMap::new();
    print(&Line::Machine { machine: Machine::this(options.runs) })?;
    for group in plan::groups(options, dir) {
        let group: Vec<_> = entrants(group, peers.as_ref());
        let mut runs: Vec<Vec<Measurement>> = group.iter().map(|_| Vec::new()).collect();
        for _ in 0..options.runs {
            for (entrant, runs) in group.iter().zip(&mut runs) {
                runs.push(measure(entrant, peers.as_ref(), &mut gauges)?);
            }
        }
        for runs in runs {
            let median = median(runs);
            [warning(&median), compare::line(&median, &earlier)]
                .into_iter()
                .flatten()
                .for_each(|line| eprintln!("{line}"));
            print(&Line::Measurement(Box::new(median)))?;
        }
    }
    Ok(())
}

fn entrants(group: Vec<Spec>, peers: Option<&Peers>) -> Vec<Entrant> {
    let with_peers = |spec: Spec| {
        let beside = peers.map(|peers| peers.beside(&spec)).unwrap_or_default();
        [Entrant::Stent(spec)].into_iter().chain(beside.into_iter().map(Entrant::Peer))
    };
    group.into_iter().flat_map(with_peers).collect()
}

fn measure(
    entrant: &Entrant,
    peers: Option<&Peers>,
    gauges: &mut BTreeMap<Backend, Gauge>,
) -> Result<Measurement> {
    let backend = match entrant {
        Entrant::Stent(spec) => spec.backend,
        Entrant::Peer(peer) => peer.backend(),
    };
    let gauge = match gauges.entry(backend) {
        std::collections::btree_map::Entry::Occupied(gauge) => gauge.into_mut(),
        std::collections::btree_map::Entry::Vacant(place) => place.insert(Gauge::of(backend)?),
    };
    match (entrant, peers) {
        (Entrant::Stent(spec), _) => process::measure(spec, gauge),
        (Entrant::Peer(peer), Some(peers)) => peers.measure(peer, gauge),
        (Entrant::Peer(_), None) => unreachable!("a peer enters only with its program"),
    }
}

fn print(line: &Line) -> Result<()> {
    println!("{}", serde_json::to_string(line)?);
    Ok(())
}
