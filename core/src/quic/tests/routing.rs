//! How datagrams find their connections, for any bytes, slots and ways.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use proptest::prelude::*;
use quinn_proto::{ConnectionId, ConnectionIdGenerator as _};

use crate::io::{ConnId, Id as _};
use crate::quic::Way;
use crate::quic::cid::{self, Minter, Reader, SlotCell};
use crate::quic::route::{Destination, FirstIds, Virtual};

fn way() -> impl Strategy<Value = Way> {
    (0..3u32, 0..3u8, 1..3u16)
        .prop_map(|(via, host, port)| Way { via, remote: SocketAddr::from(([192, 0, 2, host], port)) })
}

proptest! {
    /// Whatever the seed: an ID leads back to its slot, in any order of questions, and no two are alike.
    #[test]
    fn any_minted_id_leads_back_to_its_slot(
        seed: [u8; 32],
        slots in prop::collection::vec(any::<u32>(), 1..20),
        order in prop::collection::vec(any::<prop::sample::Index>(), 1..40),
    ) {
        let cell = SlotCell::new();
        let mut minter = Minter::new(seed, cell.clone());
        let ids: Vec<_> = slots.iter().map(|&slot| (cell.during(slot, || minter.generate_cid()), slot)).collect();
        let mut reader = Reader::new(seed);
        for index in order {
            let (id, slot) = ids[index.index(ids.len())];
            prop_assert_eq!(reader.slot(id[..].try_into().unwrap()), slot);
        }
        let distinct: BTreeMap<Vec<u8>, u32> = ids.iter().map(|(id, slot)| (id[..].to_vec(), *slot)).collect();
        prop_assert_eq!(distinct.len(), ids.len());
    }

    /// The destination is read from where RFC 9000 has it, or not at all.
    #[test]
    fn a_destination_is_read_from_any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
        match Destination::of(&bytes) {
            Some(Destination::Short(id)) => {
                prop_assert!(bytes[0] < 0x80 && bytes[1..=cid::LEN] == id);
            }
            Some(Destination::Long(id)) => {
                let len = usize::from(bytes[5]);
                prop_assert!(bytes[0] >= 0x80 && len <= 20 && bytes[6..6 + len] == id[..]);
            }
            None => {
                let long = bytes.first().is_some_and(|&first| first >= 0x80);
                let cut = bytes.len() < 6 || bytes[5] > 20 || bytes.len() < 6 + usize::from(bytes[5]);
                let missing = if long { cut } else { bytes.len() <= cid::LEN };
                prop_assert!(missing);
            }
        }
    }

    #[test]
    fn only_ids_of_our_length_may_be_ours(id in prop::collection::vec(any::<u8>(), 0..=20)) {
        let minted = Destination::Long(ConnectionId::new(&id)).minted();
        prop_assert_eq!(minted.map(|minted| minted.to_vec()), (id.len() == cid::LEN).then_some(id));
    }

    /// Beside a map that does the same, step by step: an entry goes with its own connection only.
    #[test]
    fn first_ids_are_forgotten_by_their_own_connection_only(
        steps in prop::collection::vec((any::<bool>(), 0..4u8, 0..4u32), 0..40),
    ) {
        let (mut ids, mut model) = (FirstIds::default(), BTreeMap::new());
        for (insert, id, conn) in steps {
            let (cid, conn) = (ConnectionId::new(&[id; 8]), ConnId::new(conn, 0));
            if insert {
                ids.insert(cid, conn);
                model.insert(id, conn);
            } else {
                ids.remove(&cid, conn);
                if model.get(&id) == Some(&conn) {
                    model.remove(&id);
                }
            }
            prop_assert_eq!(ids.len(), model.len());
            for id in 0..4 {
                prop_assert_eq!(ids.get(&ConnectionId::new(&[id; 8])), model.get(&id).copied());
            }
        }
    }

    #[test]
    fn a_way_has_an_address_of_its_own(key: [u8; 32], one in way(), other in way()) {
        let addresses = Virtual::new(&key);
        prop_assert_eq!(one == other, addresses.address(one) == addresses.address(other));
        prop_assert!(addresses.address(one).to_string().starts_with("[fd"));
    }
}
