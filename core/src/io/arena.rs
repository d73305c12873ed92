//! Generational identifiers, and the arena that hands them out.
//!
//! An identifier names a slot and the life of that slot: an answer that arrives after its slot was given to
//! somebody else names an older life and finds nothing.

/// What all generational identifiers have in common.
pub trait Id: Copy + Eq + Ord + std::hash::Hash + std::fmt::Debug {
    /// The identifier of the `generation`th life of slot `index`.
    fn new(index: u32, generation: u32) -> Self;
    /// The slot.
    fn index(self) -> u32;
    /// Which life of the slot.
    fn generation(self) -> u32;
}

/// Declares a generational identifier.
macro_rules! id {
    ($(#[$doc:meta])* $visible:vis $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        $visible struct $name {
            index: u32,
            generation: u32,
        }

        impl $crate::io::Id for $name {
            fn new(index: u32, generation: u32) -> Self {
                Self { index, generation }
            }
            fn index(self) -> u32 {
                self.index
            }
            fn generation(self) -> u32 {
                self.generation
            }
        }
    };
}

pub(crate) use id;

id! {
    /// A UDP socket, or a listener for TCP connections, that a machine asked its driver for.
    pub SocketId
}
id! {
    /// A TCP connection whose bytes are the machine's own: between a TURN client and its relay.
    pub LinkId
}
id! {
    /// One tunnelled byte stream: a QUIC stream on one side, a TCP connection or an application on the other.
    pub PipeId
}
id! {
    /// A question to the resolver.
    pub QueryId
}
id! {
    /// One QUIC connection of one machine.
    pub ConnId
}
id! {
    /// One gateway of a connector.
    pub GatewayKey
}

/// Values under generational identifiers. Insertion, look-up and removal are O(1); iteration is in slot order,
/// so it is the same in every run.
#[derive(Debug)]
pub struct Arena<I, T> {
    slots: Vec<Slot<T>>,
    free: Vec<u32>,
    id: std::marker::PhantomData<fn() -> I>,
}

#[derive(Debug)]
struct Slot<T> {
    generation: u32,
    value: Option<T>,
}

impl<I: Id, T> Default for Arena<I, T> {
    fn default() -> Self {
        Self { slots: Vec::new(), free: Vec::new(), id: std::marker::PhantomData }
    }
}

impl<I: Id, T> Arena<I, T> {
    /// Stores what `make` returns for the identifier that it will have.
    ///
    /// # Panics
    /// When 2³² slots are taken; every user of an arena bounds it far below.
    pub fn insert_with(&mut self, make: impl FnOnce(I) -> T) -> I {
        let made: Result<I, std::convert::Infallible> = self.try_insert_with(|id| Ok(make(id)));
        let Ok(id) = made;
        id
    }

    /// Stores what `make` returns for the identifier that it will have, unless it fails.
    ///
    /// # Errors
    /// What `make` fails with; the arena is then as it was before.
    ///
    /// # Panics
    /// When 2³² slots are taken; every user of an arena bounds it far below.
    pub fn try_insert_with<E>(&mut self, make: impl FnOnce(I) -> Result<T, E>) -> Result<I, E> {
        let index = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot { generation: 0, value: None });
            u32::try_from(self.slots.len() - 1).expect("an arena is bounded by its owner")
        });
        let slot = &mut self.slots[index as usize];
        let id = I::new(index, slot.generation);
        match make(id) {
            Ok(value) => slot.value = Some(value),
            Err(error) => {
                self.free.push(index);
                return Err(error);
            }
        }
        Ok(id)
    }

    /// Stores `value`.
    pub fn insert(&mut self, value: T) -> I {
        self.insert_with(|_| value)
    }

    /// The value of `id`, unless it was removed.
    pub fn get(&self, id: I) -> Option<&T> {
        let slot = self.slots.get(id.index() as usize)?;
        slot.value.as_ref().filter(|_| slot.generation == id.generation())
    }

    /// The value of `id`, unless it was removed.
    pub fn get_mut(&mut self, id: I) -> Option<&mut T> {
        let slot = self.slots.get_mut(id.index() as usize)?;
        slot.value.as_mut().filter(|_| slot.generation == id.generation())
    }

    /// The identifier of the value in slot `index`, whichever life it is in.
    pub fn at(&self, index: u32) -> Option<I> {
        let slot = self.slots.get(index as usize)?;
        slot.value.as_ref().map(|_| I::new(index, slot.generation))
    }

    /// Ends the life of `id` and returns its value.
    pub fn remove(&mut self, id: I) -> Option<T> {
        let slot = self.slots.get_mut(id.index() as usize)?;
        if slot.generation != id.generation() {
            return None;
        }
        let value = slot.value.take()?;
        slot.generation = slot.generation.wrapping_add(1);
        self.free.push(id.index());
        Some(value)
    }

    /// The number of values.
    pub fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// Whether there is no value.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All values with their identifiers, in slot order.
    pub fn iter(&self) -> impl Iterator<Item = (I, &T)> {
        (0u32..)
            .zip(&self.slots)
            .filter_map(|(index, slot)| Some((I::new(index, slot.generation), slot.value.as_ref()?)))
    }

    /// All values with their identifiers, in slot order.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (I, &mut T)> {
        (0u32..)
            .zip(&mut self.slots)
            .filter_map(|(index, slot)| Some((I::new(index, slot.generation), slot.value.as_mut()?)))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_late_identifier_finds_nothing() {
        let mut arena = Arena::<SocketId, &str>::default();
        let first = arena.insert("first");
        assert_eq!(arena.remove(first), Some("first"));
        let second = arena.insert("second");
        assert_eq!(first.index(), second.index());
        assert_eq!(arena.get(first), None);
        assert_eq!(arena.remove(first), None);
        assert_eq!(arena.get(second), Some(&"second"));
        assert_eq!(arena.len(), 1);
    }

    #[test]
    fn what_is_not_made_takes_no_slot() {
        let mut arena = Arena::<SocketId, &str>::default();
        let mut named = None;
        let made = arena.try_insert_with(|id| {
            named = Some(id);
            Err::<&str, _>("not today")
        });
        assert_eq!((made, arena.len(), arena.get(named.unwrap())), (Err("not today"), 0, None));
        assert_eq!(arena.insert("next").index(), named.unwrap().index(), "the slot is free again");
    }

    proptest! {
        /// Every identifier finds the value that it was given for, and nothing once that is removed.
        #[test]
        fn any_order_of_operations_keeps_each_identifier_to_its_value(
            steps in prop::collection::vec((any::<bool>(), any::<prop::sample::Index>()), 0..60),
        ) {
            let mut arena = Arena::<SocketId, usize>::default();
            let (mut live, mut dead) = (Vec::<(SocketId, usize)>::new(), Vec::new());
            for (number, (insert, which)) in steps.into_iter().enumerate() {
                if insert || live.is_empty() {
                    live.push((arena.insert(number), number));
                } else {
                    let (id, value) = live.swap_remove(which.index(live.len()));
                    prop_assert_eq!(arena.remove(id), Some(value));
                    dead.push(id);
                }
                prop_assert_eq!((arena.len(), arena.is_empty()), (live.len(), live.is_empty()));
                for &(id, value) in &live {
                    prop_assert_eq!((arena.get(id), arena.at(id.index())), (Some(&value), Some(id)));
                }
                for &id in &dead {
                    prop_assert!(arena.get(id).is_none() && arena.get_mut(id).is_none());
                    prop_assert_eq!(arena.remove(id), None);
                }
            }
            live.sort();
            let all: Vec<_> = arena.iter().map(|(id, &value)| (id, value)).collect();
            prop_assert_eq!(&all, &live);
            prop_assert_eq!(arena.iter_mut().map(|(id, value)| (id, *value)).collect::<Vec<_>>(), live);
        }
    }
}
