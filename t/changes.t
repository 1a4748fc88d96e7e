#!/usr/bin/perl
# Fan-out (A7, C9, F9): a changed card reaches its holders, whoever is killed
# in between; small ones do not wait for large ones; Redis may be emptied.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use Test::More;
use Time::HiRes qw(sleep time);

use CardxTest;
use CardxTest::Events;

my $t = CardxTest->new->start;
my @people = map { $t->register("+861380013800$_") } 0 .. 1;
my ($anna, $bela) = @people;

sub token { return { token => $_[0]{access_token} } }

sub card { $t->card(token($_[0]), name => { full => $_[1] }) }

# Repeated while it is not in force everywhere: what is done is not done again.
sub change {
    my ($whose, $card, $name) = @_;
    my $status;
    for (1 .. 20) {
        $status = $t->put("/v1/cards/$card", { '@type' => 'Card',
            version => '1.0', name => { full => $name } },
            token($whose))->{status};
        last if $status != 503;
        sleep 0.2;
    }
    return $status;
}

# Holds a card, as far as fan-out is concerned.
sub hold {
    my ($holder, $card, $owner) = @_;
    my $contact = "k$holder->{user_id}";
    $t->psql("begin;
        insert into cardx.contacts (contact_id, user_id, card_id, owner_id,
            layer)
        values ('$contact', '$holder->{user_id}', '$card',
            '$owner->{user_id}', '\\x00');
        insert into cardx.grants (card_id, holder_id, via, source, owner_id)
        values ('$card', '$holder->{user_id}', 'key', 'test',
            '$owner->{user_id}');
        select cardx.log_add('$holder->{user_id}', 'contact', '$contact',
            'put'); commit");
    return $contact;
}

my @cards = (card($anna, 'Anna'), card($bela, 'Bela'));
my @contacts = (hold($bela, $cards[0], $anna), hold($anna, $cards[1], $bela));
$t->outbox_empty;

my @streams = map { CardxTest::Events->open($t, token => $_->{access_token}) }
    @people;
$_->wait_for(sub { $_[0] || 1 }) for @streams;
for my $s (@streams) { $s->wait_for(sub { $s->{id} }) }

# Both change their cards; each hears of the other's, and how long it took.
my $n = 0;
sub both_hear {
    my ($what, $patience) = @_;
    $n++;
    my @heard;
    for my $i (0, 1) {
        my $s = $streams[ 1 - $i ];
        my $before = $s->changes;
        my $began = time;
        is(change($people[$i], $cards[$i], "name $n"), 200, "$what: a change");
        my $object = $contacts[$i];
        $heard[$i] = $s->wait_for(sub {
            my @new = ($s->changes)[$before .. $s->changes - 1];
            (grep { $_->{json}{id} eq $object } @new) ? 1 : 0 }, $patience)
            ? time - $began : undef;
        ok(defined $heard[$i], "$what: heard by who holds it");
    }
    return (sort { $b <=> $a } map { $_ // 99 } @heard)[0];
}

both_hear('two terminals of two people', 10);
my @times = sort { $a <=> $b } map { both_hear("again $_", 10) } 1 .. 3;
cmp_ok($times[0], '<', 1, 'within a second');

# --- killed ------------------------------------------------------------------

for my $name (qw(fanout api-fast-0 deliver-0)) {
    $t->kill9($name);
    both_hear("after kill -9 of $name", 15);
}

# while there is something to tell
my $since = $streams[0]{id};
$t->signal('fanout', 'STOP');
is(change($bela, $cards[1], 'told later'), 200, 'fanout does not answer');
$t->signal('fanout', 'CONT');
$t->kill9('fanout');
ok($streams[0]->wait_for(sub {
    my $u = $t->get("/v1/updates?since=$since", undef, token($anna));
    $u->{status} == 200
        && grep { $_->{id} eq $contacts[1] } @{ $u->{json}{changes} } }, 15),
    'and is killed: nothing is lost');

$t->redis('FLUSHALL');
both_hear('with Redis emptied', 15);

$t->kill9('redis');
$t->start;
both_hear('with another Redis', 20);

# --- a reload, with a hundred streams ----------------------------------------

my @many = map { CardxTest::Events->open($t, token => $anna->{access_token}) }
    1 .. 100;
is(scalar(grep { $_->{status} == 200 } @many), 100, 'a hundred streams');
$many[0]->wait_for(sub { $many[0]{id} });
$t->signal('nginx', 'HUP');
my $ended = grep { $_->wait_end(20) && $_->{complete} } @many;
is($ended, 100, 'all end properly when nginx is reloaded');
ok(!(grep { !$_->{retry} } @many), 'and know when to come back');
my $back = CardxTest::Events->open($t, token => $anna->{access_token},
    last => $many[0]{id});
is($back->{status}, 200, 'one comes back');
is(change($bela, $cards[1], 'after the reload'), 200, 'a change');
ok($back->wait_for(sub { grep { ($_->{json}{id} // '') eq $contacts[1] } @_ }),
    'and hears');
$_->close for @many, $back, @streams;

# --- many holders ------------------------------------------------------------

my $holders = 3000;
$t->psql("begin; insert into cardx.users (user_id, password, data_key)
    select 'holder' || lpad(i::text, 22, '0'), 'x', '\\x00'
    from generate_series(1, $holders) i;
    insert into cardx.contacts (contact_id, user_id, card_id, owner_id, layer)
    select 'c' || user_id, user_id, '$cards[0]', '$anna->{user_id}', '\\x00'
    from cardx.users where user_id like 'holder%';
    insert into cardx.grants (card_id, holder_id, via, source, owner_id)
    select '$cards[0]', user_id, 'key', 'test', '$anna->{user_id}'
    from cardx.users where user_id like 'holder%'; commit");

sub told {
    my ($at_least) = @_;
    return $t->psql("select count(*) from cardx.user_log
        where user_id like 'holder%' and kind = 'contact'
            and xid >= '$at_least'");
}
sub now_xid { $t->psql('select pg_snapshot_xmax(pg_current_snapshot())') }
sub quiet {
    $t->wait_for(sub { $t->psql("select count(*) from cardx.outbox
        where effect in ('holders', 'wake')") == 0 }, 30);
}
quiet();

my $xid = now_xid();
is(change($anna, $cards[0], 'to many'), 200, 'a card with many holders');
my $killed = 0;
$t->wait_for(sub {
    my $done = told($xid);
    if ($done && $done < $holders && $killed < 2) { $t->kill9('fanout');
        $killed++ }
    $done == $holders;
}, 30);
is(told($xid), $holders, "all of them are told, fanout killed $killed times");
ok(quiet(), 'and it ends');
is($t->psql('select count(*) from cardx.fanouts'), 0, 'leaving nothing');

# A chunk is no larger than what the last one allows, so that no small fan-out
# waits for all of a large one.
$t->kill9('fanout');
$xid = now_xid();
is(change($anna, $cards[0], 'in chunks'), 200, 'a fanout that has just begun');
ok(quiet(), 'tells many');
my @chunks = split ' ', $t->psql("select string_agg(n::text, ' ' order by xid)
    from (select xid, count(*) as n from cardx.user_log
        where user_id like 'holder%' and kind = 'contact' and xid >= '$xid'
        group by xid) c");
cmp_ok($chunks[0], '<=', 200, 'the first chunk is small');
is(scalar(grep { $chunks[$_] > int($chunks[ $_ - 1 ] * 5 / 4) } 1 .. $#chunks),
    0, 'and none is more than a quarter larger than the one before')
    or diag("@chunks");

# changed while it runs: everybody hears of the last change
$xid = now_xid();
change($anna, $cards[0], 'first');
change($anna, $cards[0], 'second');
my $second = now_xid();
change($anna, $cards[0], 'third');
ok(quiet(), 'changed again and again while it runs');
is(told($second), $holders, 'all have heard of the last change');

# a small one does not wait for it
$t->psql("begin; insert into cardx.contacts (contact_id, user_id, card_id,
        owner_id, layer)
    select 'd' || user_id, user_id, '$cards[1]', '$bela->{user_id}', '\\x00'
    from cardx.users where user_id = 'holder' || lpad('1', 22, '0');
    insert into cardx.grants (card_id, holder_id, via, source, owner_id)
    select '$cards[1]', user_id, 'key', 'test', '$bela->{user_id}'
    from cardx.users where user_id = 'holder' || lpad('1', 22, '0'); commit");
$xid = now_xid();
change($anna, $cards[0], 'large');
change($bela, $cards[1], 'small');
ok($t->wait_for(sub { $t->psql("select count(*) from cardx.user_log
    where object_id like 'dholder%' and xid >= '$xid'") == 1 }, 10),
    'a small fan-out beside a large one');
quiet();

# a holder who has deleted the contact is left alone
$t->psql("begin; update cardx.contacts set deleted_at = now()
    where contact_id = 'c' || 'holder' || lpad('7', 22, '0');
    select cardx.log_add('holder' || lpad('7', 22, '0'), 'contact',
        'c' || 'holder' || lpad('7', 22, '0'), 'delete'); commit");
quiet();
$xid = now_xid();
is($t->delete("/v1/cards/$cards[0]", undef, token($anna))->{status}, 204,
    'a card is deleted');
ok(quiet(), 'its holders are told');
is(told($xid), $holders - 1, 'all but who has deleted the contact');
is($t->psql("select op from cardx.user_log
    where object_id = 'c' || 'holder' || lpad('7', 22, '0')"), 'delete',
    'which stays deleted');

$t->finish;
done_testing;
