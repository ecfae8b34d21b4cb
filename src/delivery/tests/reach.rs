//! What a receiver's address must be, at every attempt.

use std::net::SocketAddr;

use super::receiver::{Act, OK, Receiver};
use super::service::{Service, Setup, delivered};
use super::*;
use crate::provider::OwnListeners;

const ONE: [u8; 4] = [127, 0, 0, 1];
const OTHER: [u8; 4] = [127, 0, 0, 2];

/// A delivery to `url` that is refused; what is said of it.
async fn refused(setup: Setup, url: &str) -> String {
    const ONCE: Retries = Retries { waits: &[Duration::from_secs(3600)], longest: service::A_DAY };
    let mut service = Service::open().await;
    service.deliver(Setup { rhythm: Rhythm { retries: ONCE, ..setup.rhythm }, ..setup });
    service.solved(url, "Friday").await;
    let delivery = service.until(waiting_after(1)).await.remove(0);
    assert_eq!((delivery.attempts, delivery.last_status), (1, None));
    delivery.last_error.unwrap()
}

#[tokio::test]
async fn an_address_in_the_url_is_judged() {
    let receiver = Receiver::start(&[OK]).await;
    let port = receiver.address.port();
    for host in ["127.0.0.1", "127.1", "2130706433", "0x7f.1", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]"] {
        let error = refused(Setup { allow: &[], ..Setup::default() }, &format!("{host}:{port}/")).await;
        assert!(error.contains("a loopback address"), "{host}: {error}");
    }
    for (host, what) in [("169.254.169.254", "link-local"), ("[fe80::1]", "link-local"), ("0", "unspecified")]
    {
        let error = refused(Setup::default(), &format!("http://{host}/")).await;
        assert!(error.contains(what), "{host}: {error}");
    }
    assert_eq!(receiver.seen(), [""; 0]);
}

#[tokio::test]
async fn the_addresses_of_a_name_are_judged() {
    let receiver = Receiver::start(&[OK]).await;
    let port = receiver.address.port();
    let setup = || Setup { allow: &[], ..Setup::default() };
    // By the system's own resolver.
    for host in ["localhost", "localhost."] {
        let error = refused(setup(), &format!("{host}:{port}/")).await;
        assert!(error.contains("a loopback address"), "{host}: {error}");
    }
    let error = refused(setup().named(&[&[ONE.into()]]), &format!("receiver.test:{port}/")).await;
    assert!(error.contains("a loopback address"), "{error}");
    assert_eq!(receiver.seen(), [""; 0]);
}

#[tokio::test]
async fn a_name_with_one_address_that_is_not_allowed_is_not_called_at_any() {
    let receiver = Receiver::start(&[OK]).await;
    let url = format!("receiver.test:{}/", receiver.address.port());
    let private = [10, 0, 0, 1].into();
    for addresses in [[ONE.into(), private], [private, ONE.into()]] {
        let error = refused(Setup::default().named(&[&addresses]), &url).await;
        assert!(error.contains("a private address"), "{error}");
    }
    let many = vec![ONE.into(); 1000];
    let error = refused(Setup::default().named(&[&many]), &url).await;
    assert!(error.contains("too many addresses"), "{error}");
    assert_eq!(receiver.seen(), [""; 0]);
}

#[tokio::test]
async fn a_name_that_moves_between_two_attempts_is_judged_again() {
    let allowed = Receiver::on((ONE, 0).into(), &[Act::Reply("500 Oops\r\n")]).await;
    let forbidden = Receiver::on((OTHER, allowed.address.port()).into(), &[OK]).await;
    let mut service = Service::open().await;
    service.deliver(Setup::default().named(&[&[allowed.ip()], &[forbidden.ip()]]));
    service.solved(&format!("moving.test:{}/", allowed.address.port()), "Friday").await;
    let all = service.until(|all| all.iter().any(|one| one.status == DeliveryStatus::Dead)).await;
    assert!(all[0].last_error.as_deref().unwrap().contains("a loopback address"), "{all:?}");
    assert_eq!((allowed.seen().len(), forbidden.seen().len()), (1, 0));
}

#[tokio::test]
async fn a_name_that_moves_between_two_attempts_is_judged_again_for_webhooks() {
    let allowed = Receiver::on((ONE, 0).into(), &[Act::Reply("500 Oops\r\n")]).await;
    let forbidden = Receiver::on((OTHER, allowed.address.port()).into(), &[OK]).await;
    let mut service = Service::open().await;
    service.deliver(Setup::default().named(&[&[allowed.ip()], &[forbidden.ip()]]));
    let url = format!("http://moving.test:{}/", allowed.address.port());
    service.solved_with(Some(&url), "Friday").await;
    let all = service.until(|all| all.iter().any(|one| one.status == DeliveryStatus::Dead)).await;
    assert!(all[0].last_error.as_deref().unwrap().contains("a loopback address"), "{all:?}");
    assert_eq!((allowed.heard().len(), forbidden.seen().len()), (1, 0));
}

#[tokio::test]
async fn pingbox_itself_is_not_called_whatever_the_rules_allow() {
    let (own, other) = (Receiver::start(&[OK]).await, Receiver::start(&[OK]).await);
    let port = own.address.port();
    let any = SocketAddr::new([0, 0, 0, 0].into(), port);
    for bound in [own.address, any] {
        let setup = || Setup { own: OwnListeners::new([bound]), ..Setup::default() };
        for (setup, host) in [(setup(), "127.0.0.1"), (setup().named(&[&[ONE.into()]]), "own.test")] {
            let error = refused(setup, &format!("http://{host}:{port}/")).await;
            assert_eq!(error, "the receiver is pingbox itself", "{bound} {host}");
        }
        let mut service = Service::open().await;
        service.deliver(setup().named(&[&[ONE.into()]]));
        service.solved(&format!("http://other.test:{}/", other.address.port()), "Friday").await;
        service.until(delivered).await;
    }
    assert_eq!((own.seen().len(), other.seen().len()), (0, 2));
}

#[tokio::test]
async fn what_the_rules_refused_is_delivered_once_they_allow_it() {
    let receiver = Receiver::start(&[OK]).await;
    let mut service = Service::open().await;
    service.deliver(Setup::default().named(&[&[[10, 0, 0, 1].into()], &[receiver.ip()]]));
    service.solved(&format!("moving.test:{}/", receiver.address.port()), "Friday").await;
    let all = service.until(delivered).await;
    assert_eq!((all[0].attempts, receiver.seen().len()), (2, 1));
}

#[tokio::test]
async fn what_finds_no_room_to_look_up_its_name_is_no_attempt() {
    let mut service = Service::open().await;
    let names = Arc::new(SystemNames::with_room_for(0));
    service.deliver(Setup { names, ..Setup::default() });
    service.solved("http://receiver.test/", "Friday").await;
    let all = service.until(|all| all[0].last_error.is_some()).await;
    assert_eq!((all[0].status, all[0].attempts), (DeliveryStatus::Waiting, 0));
    assert_eq!(all[0].last_error.as_deref(), Some("too many look-ups of names are under way"));
}

#[tokio::test]
async fn a_name_without_addresses_is_a_failure() {
    let error = refused(Setup::default().named(&[&[]]), "http://receiver.test/").await;
    assert!(error.starts_with("no connection"), "{error}");
}
