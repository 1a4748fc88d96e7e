#!/usr/bin/perl

# D4, D5: who has each other's number in the book follows the other's card;
# nobody learns anything else.  Books are written as the api worker does it
# (t/tools/match_try.c).

use strict;
use warnings;
use utf8;

use FindBin;
use lib "$FindBin::Bin/lib";

use Test::More;

use CardxTest;
use CardxTest::Matching;

subtest 'two who have each other' => sub {
    my ($a, $b, $c) = map { person() } 1 .. 3;
    (my $plain = $b->{phone}) =~ s/^\+86//;

    book($a, ['a-b', '+4930123456', $plain], ['a-x', '+4917000', 'no number']);
    settled();
    is(grants($a, $b), 0, 'one side alone');
    book($c, ['c-a', $a->{phone}], ['c-b', $b->{phone}]);
    book($b, ['b-a', "tel:$a->{phone}"]);
    $t->wait_for(sub { follows('b-a') });
    is(follows('a-b'), $b->{card_id}, 'A follows B');
    is(follows('b-a'), $a->{card_id}, 'B follows A');
    settled();
    is(grants($c), 0, 'C, whom nobody has, learns nothing');

    book($a, ['a-b', '+4930123456']);
    $t->wait_for(sub { !grants($a) });
    is(grants($a, $b), 0, 'the number is deleted: it is over for both');
    is(follows($_), '', "$_ is as it was typed") for 'a-b', 'b-a';
    book($a, ['a-b', $b->{phone}]);
    ok($t->wait_for(sub { follows('a-b') && follows('b-a') }), 'and back');

    book($a, ['a-b']);
    ok($t->wait_for(sub { !grants($a) }), 'the entry is deleted: the same');
};


subtest 'who comes later' => sub {
    my $a = person();
    my $phone = number();
    book($a, ['late-b', $phone]);
    settled();
    my $b = person(phone => $phone, bare => 1);
    book($b, ['late-a', $a->{phone}]);
    settled();
    is(grants($a, $b), 0, 'who has no card yet gives none, and gets none');
    card($b);
    ok($t->wait_for(sub { follows('late-a') && follows('late-b') }),
        'the first card is the own one, and brings both together');
};


subtest 'what an account decides' => sub {
    my ($a, $b) = map { person() } 1 .. 2;
    book($a, ['is-b', $b->{phone}]);
    book($b, ['is-a', $a->{phone}]);
    $t->wait_for(sub { follows('is-a') && follows('is-b') });

    my $patch = sub { $t->patch('/v1/me', $_[0], $a->{token})->{status} };
    my $fields = sub { $t->psql("select fields from cardx.grants
        where owner_id = '$a->{user_id}'") };
    $t->signal('fanout', 'STOP');
    is($patch->({ match => { fields => ['phones'] } }), 200);
    is($fields->(), '{phones}', 'fields, as soon as it is answered');
    is($patch->({ match => { on => JSON::PP::false() } }), 200);
    is($fields->(), '', 'off, too');
    $t->signal('fanout', 'CONT');
    ok($t->wait_for(sub { !grants($a) }), 'and then both ways');
    is($patch->({ match => undef }), 200);
    ok($t->wait_for(sub { follows('is-a') && $fields->() eq '' }), 'on');

    my $old = $a->{card_id};
    card($a);
    $t->signal('fanout', 'STOP');
    is($patch->({ own_card_id => $a->{card_id} }), 200);
    is($t->psql("select count(*) from cardx.grants where card_id = '$old'"), 0,
        'the former one is not shown any more');
    $t->signal('fanout', 'CONT');
    ok($t->wait_for(sub { follows('is-a') eq $a->{card_id} }),
        'another own card');
    is($t->delete("/v1/cards/$a->{card_id}", undef, $a->{token})->{status},
        204);
    ok($t->wait_for(sub { follows('is-a') eq $old }), 'deleted: the next');
};


subtest 'another number' => sub {
    my ($a, $b, $d) = map { person() } 1 .. 3;
    my ($old, $new) = ($a->{phone}, number());
    book($a, ['n-b', $b->{phone}], ['n-d', $d->{phone}]);
    book($b, ['n-a', $old]);
    book($d, ['n-new', $new]);
    $t->wait_for(sub { follows('n-a') && follows('n-b') });
    settled();
    is(follows('n-new'), '', 'nobody has that number');

    change_number($a, $new);
    ok($t->wait_for(sub { follows('n-new') }), 'who has the new one, is found');
    is(follows('n-d'), $d->{card_id}, 'by both');
    settled();
    is(follows('n-a'), $a->{card_id}, 'who had the old one still follows');
    is(follows('n-b'), $b->{card_id}, 'and is followed');
    my $shown = $t->psql("select k.card->'phones'->'own'->>'number' from
        cardx.contacts c join cardx.cards k using (card_id)
        where c.contact_id = 'n-a'");
    is($shown, $new, 'and sees the new number');

    my $heir = person(phone => $old);
    book($heir, ['n-heir', $b->{phone}]);
    settled();
    is(grants($heir), 0, 'who has the old number now is a stranger');
    is(follows('n-a'), $a->{card_id});

    change_number($a, number());
    settled();
    is(follows('n-a'), $a->{card_id}, 'a third number: all the same');
    book($b, ['n-a', $a->{phone}]);
    settled();
    is(follows('n-a'), $a->{card_id}, 'the newest one in the book: the same');
    is(grants($a, $b, $d), 4, 'four grants in all');
};


subtest 'what is stored' => sub {
    my ($a, $b) = map { person() } 1 .. 2;
    my $third = '+8615555500001';
    book($a, ['s-a', $third], ['s-b', $b->{phone}]);
    book($b, ['s-c', $third]);
    settled();
    is($t->psql("select count(distinct pair) from cardx.match_entries
        where contact_id in ('s-a', 's-c')"), 2,
        'one number in two books is two unrelated rows');
    my $dump = CardxTest::capture('pg_dump', '-h', "$t->{var}/pgrun", '-U',
        'postgres', '--data-only', 'cardx');
    like($dump, qr/COPY cardx.match_entries/, 'a dump');
    unlike($dump, qr/15555500001/, 'has no number of anybody\'s book');
    my $hex = unpack 'H*', '15555500001';
    unlike($dump, qr/$hex/, 'nor its bytes');
};


$t->finish;
done_testing;
