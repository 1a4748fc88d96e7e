#!/usr/bin/perl

# D4, D5: many books at once, large ones, and what can be learned from one.

use strict;
use warnings;
use utf8;

use FindBin;
use lib "$FindBin::Bin/lib";

use Test::More;
use Time::HiRes qw(time);

use CardxTest;
use CardxTest::Matching;

subtest 'many at once' => sub {
    my @people = map { person() } 1 .. 10;
    my @all = map { $_->{phone} } @people;
    my @done = $t->at_once(map { my $n = $_; sub {
        my $i = 0;
        book($people[$n], map { ["m-$n-" . $i++, $_] } @all);
        'done';
    } } 0 .. $#people);
    is("@done", join(' ', ('done') x @people), 'each writes all the others');
    ok($t->wait_for(sub { grants(@people) == 90 }, 60),
        'all know each other') or diag(grants(@people));

    # again and again, the other way about, and with fanout being killed
    for my $n (1, 2) {
        $t->at_once(map { my $me = $_; my $i = $_ * 1;
            sub { book($people[$me], map { ["m-$me-$_"] } 0 .. 9); 1 }
        } 0 .. $#people);
        $t->kill9('fanout') if $n == 1;
        $t->psql('update cardx.outbox set due_at = now()');
        ok($t->wait_for(sub {
            grants(@people) == 0
        }, 60), 'nobody has anybody') or diag(grants(@people));
        $t->at_once(map { my $me = $_;
            sub { book($people[$me], map { ["m-$me-$_", $all[$_]] }
                reverse 0 .. 9); 1 }
        } reverse 0 .. $#people);
        $t->psql('update cardx.outbox set due_at = now()');
        ok($t->wait_for(sub { grants(@people) == 90 }, 60), 'everybody again')
            or diag(grants(@people));
    }
    settled();
    is($t->psql('select count(*) from cardx.match_todo'), 0, 'nothing is left');
    is($t->psql('select count(*) from cardx.matches m where not exists (
        select from cardx.contacts c where c.contact_id = m.lower_contact_id
            and c.card_id = m.higher_card_id)'), 0, 'each entry follows');
    unlike($t->read_log('postgresql.log') // '', qr/deadlock/,
        'none waited for one another');
};


subtest 'nobody learns anything else' => sub {
    # 400 who are registered, and do not have the uploader
    my @known = map { '+8617' . (100000000 + $_) } 1 .. 400;
    my @unknown = map { '+8617' . (200000000 + $_) } 1 .. 400;
    $t->psql("insert into cardx.users (user_id, phone, password, data_key)
        select 'known-' || n, '+8617' || 100000000 + n, '', ''
        from generate_series(1, 400) n;
        insert into cardx.cards (card_id, user_id, card)
        select 'known-card-' || n, 'known-' || n, '{}'
        from generate_series(1, 400) n");
    my $me = person();
    my %ms = (known => [], unknown => []);
    for my $round (1 .. 8) {
        for my $kind ($round % 2 ? qw(known unknown) : qw(unknown known)) {
            my $numbers = $kind eq 'known' ? \@known : \@unknown;
            my $i = 0;
            push @{ $ms{$kind} }, book($me,
                map { ["w-$kind-$round-" . $i++, $_] } @$numbers);
            settled();
            book($me, map { ["w-$kind-$round-$_"] } 0 .. $#$numbers);
            settled();
        }
    }
    my %least = map { $_ => (sort { $a <=> $b } @{ $ms{$_} })[1] } keys %ms;
    note("400 numbers, registered: $least{known} ms, not: $least{unknown} ms");
    cmp_ok(abs($least{known} - $least{unknown}), '<',
        10 + $least{unknown} / 2, 'the same time, whoever they are');
    is(grants($me), 0, 'and nothing comes of it');
    is($t->psql("select count(*) from cardx.user_log where user_id =
        '$me->{user_id}' and kind = 'contact' and object_id in (
        select contact_id from cardx.contacts where revision > 1)"), 0,
        'nor is anything told');
};


subtest 'a large book, and the quota' => sub {
    my $me = person();
    # as if 18 000 had been there before
    $t->psql("insert into cardx.match_quota (user_id, numbers)
        values ('$me->{user_id}', 18000)");
    my @entries = map { ["q-$_", '+8616' . (100000000 + $_)] } 1 .. 2_500;
    my $began = time;
    my @ms = book($me, @entries);
    note(sprintf '2 500 numbers: %.1f s in calls of 1 000, the longest %d ms',
        time - $began, (sort { $b <=> $a } @ms)[0]);
    is($t->psql("select count(*) from cardx.match_entries where user_id =
        '$me->{user_id}'"), 2_000, 'what is over 20 000 in ten days is not '
        . 'matched');
    is($t->psql("select count(*) from cardx.contacts where user_id =
        '$me->{user_id}'"), 2_500, 'but stored');

    $began = time;
    settled(60);
    note(sprintf 'compared after another %.1f s', time - $began);
    book($me, ['q-1', '+8616199999999']);
    is($t->psql("select count(*) from cardx.match_entries where user_id =
        '$me->{user_id}'"), 1_999, 'another number makes no room');
    book($me, ['q-2']);
    book($me, ['q-2', '+86' . 16100000002]);
    is($t->psql("select count(*) from cardx.match_entries where user_id =
        '$me->{user_id}'"), 1_999, 'one that comes back within ten days is '
        . 'not new');
    $t->psql("update cardx.match_quota set day = day - 10;
        update cardx.match_seen set day = day - 10");
    book($me, ['q-1', '+8616199999999']);
    $t->psql('select cardx.match_retry(10000)');
    is($t->psql("select count(*) from cardx.match_entries where user_id =
        '$me->{user_id}'"), 2_500, 'ten days do, for what has waited, too');
    is($t->psql('select count(*) from cardx.match_waiting'), 0, 'all of it');
    $t->psql("update cardx.match_seen set day = day - 1 where user_id =
        '$me->{user_id}' and day < current_date;
        select cardx.match_sweep(10000)");
    is($t->psql("select count(*) from cardx.match_seen where user_id =
        '$me->{user_id}' and day < current_date"), 0,
        'and the tags of numbers are swept then');

    my $late = person(phone => '+8616100002400');
    book($late, ['q-late', $me->{phone}]);
    ok($t->wait_for(sub { follows('q-2400') }, 30),
        'who was over the quota is found');

    my $peer = person(phone => '+8616100000077');
    book($peer, ['q-peer', $me->{phone}]);
    ok($t->wait_for(sub { follows('q-77') }), 'one of many is found');
    $began = time;
    change_number($me, number());
    settled(60);
    note(sprintf 'all hashed anew for another number: %.1f s', time - $began);
    is($t->psql("select count(*) from cardx.match_entries e
        join cardx.users u using (user_id) where u.user_id = '$me->{user_id}'
            and (e.epoch <> u.match_epoch or e.fresh)"), 0, 'all of it');
    is(follows('q-77'), $peer->{card_id}, 'and nobody is lost');
};


$t->finish;
done_testing;
