//! What targets do with the connections that are dialled.

use std::io::ErrorKind;
use std::net::SocketAddr;

use adit_core::io::PipeId;
use adit_sim::{End, Handle, Target, World, secs};

use crate::tube::{Event, Tube, host};

const TARGET: &str = "10.77.0.1:7";

/// A host that has dialled `target` and says `words` into the pipe.
fn dialled(target: Target, words: &[u8]) -> (World, Handle<Tube>, PipeId) {
    let mut world = World::seeded(1);
    world.place(TARGET.parse().unwrap(), target);
    let a = host(&mut world, "a", "11.0.0.1:5", None);
    world.run_for(secs(1));
    let pipe = world.call(a, |tube, _| {
        tube.pipe.to_target.extend(words);
        tube.dial(TARGET.parse().unwrap())
    });
    (world, a, pipe)
}

fn heard(world: &World, a: Handle<Tube>) -> usize {
    world.connections(a).next().map_or(0, |target| target.received().len())
}

#[test]
fn a_slow_target_reads_as_fast_as_it_says() {
    let (mut world, a, _) = dialled(Target::Slow(1000), &[1; 5000]);
    for second in 1..=5 {
        world.run_for(secs(1));
        let slowly = heard(&world, a);
        assert!((second * 1000 - 100..=second * 1000 + 100).contains(&slowly), "{slowly} after {second} s");
    }
    world.run_for(secs(10));
    assert_eq!(heard(&world, a), 5000);
    assert!(!world.step(), "nothing left to do");
}

#[test]
fn a_slow_target_that_waited_for_bytes_goes_on_with_them() {
    let (mut world, a, pipe) = dialled(Target::Slow(1000), &[1; 100]);
    world.run_for(secs(60));
    assert_eq!(heard(&world, a), 100);
    world.call(a, |tube, _| {
        tube.pipe.to_target.extend([2; 900]);
        tube.pipe.finished = true;
        tube.wake(pipe);
    });
    world.run_for(secs(2));
    let target = world.connections(a).next().unwrap();
    assert_eq!((target.received().len(), target.heard_end()), (1000, Some(End::Finished)));
}

#[test]
fn a_target_that_hangs_reads_what_its_buffer_holds_and_never_ends() {
    let (mut world, a, _) = dialled(Target::Hangs, &[1; 100_000]);
    world.run_for(secs(3600));
    assert_eq!(heard(&world, a), 65_536);
    assert_eq!((world.open_pipes(a), world.machine(a).pipe.closed), (1, false));
    assert!(matches!(world.news(a).last(), Some(Event::Dialled(Ok(_)))));
}

#[test]
fn a_target_that_breaks_off_takes_no_byte_too_many() {
    let (mut world, a, _) = dialled(Target::Breaks(1500), &[1; 9000]);
    world.run_for(secs(1));
    assert_eq!(heard(&world, a), 1500);
    let end = world.connections(a).next().unwrap().heard_end();
    assert!(world.machine(a).pipe.closed && end == Some(End::Reset));
}

#[test]
fn a_port_that_nobody_has_refuses_and_an_address_that_nobody_has_is_out_of_reach() {
    let (mut world, a, _) = dialled(Target::Echo, b"");
    for (to, end) in
        [("10.77.0.1:8", ErrorKind::ConnectionRefused), ("10.78.0.1:7", ErrorKind::HostUnreachable)]
    {
        let to: SocketAddr = to.parse().unwrap();
        world.call(a, |tube, _| tube.dial(to));
        world.run_for(secs(1));
        assert!(matches!(world.news(a).last(), Some(Event::Dialled(Err(kind))) if *kind == end));
    }
}
