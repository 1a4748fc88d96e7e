#!/usr/bin/perl

# D3: the own card, taken from the terminal at registration and at each
# sign-in if the terminal's is newer; and what the account says of itself.

use strict;
use warnings;
use utf8;

use FindBin;
use lib "$FindBin::Bin/lib";

use Test::More;

use CardxTest qw(is_problem);

my $t = CardxTest->new(settings => { sms_from => 'cardx',
    sms_per_address => 100000 })->start;

my $next = 0;
sub person {
    my $me = $t->register(sprintf '+86138001380%02d', $next++);
    $me->{token} = { token => $me->{access_token} };
    return $me;
}

# A terminal's copy, as of that second.
sub copy {
    my ($second, $name) = @_;
    return { '@type' => 'Card', version => '1.0', uid => 'urn:uuid:1',
        updated => sprintf('2026-01-01T00:00:%02dZ', $second),
        name => { full => $name } };
}

sub bring {
    my ($terminal, $copy) = @_;
    return $t->put('/v1/me/card', $copy, $terminal->{token});
}

sub account { $t->get('/v1/me', undef, $_[0]{token})->{json} }

sub patch {
    my ($me, $patch) = @_;
    return $t->patch('/v1/me', $patch, $me->{token});
}

my $me = person();


subtest 'from terminal to terminal' => sub {
    is(account($me)->{own_card_id}, undef, 'a new account has none');
    my $r = bring($me, copy(10, 'Anna'));
    is($r->{status}, 201, 'at registration') or diag($r->{body});
    my $id = $r->{json}{card_id};
    is(account($me)->{own_card_id}, $id, 'it is the own card');
    is($r->{headers}{location}, "/v1/cards/$id");

    my $second = $t->sign_in($me->{phone}, $me->{initial_password});
    $second->{token} = { token => $second->{access_token} };

    $r = bring($second, copy(9, 'Anna Alt'));
    ok($r->{json}{unchanged}, 'at sign-in: an older one changes nothing');
    is("$r->{status} $r->{json}{card}{name}{full}", '200 Anna',
        'and is told what is here');
    is($r->{json}{revision}, 1);
    $r = bring($second, copy(10, 'Anna Same Time'));
    ok($r->{json}{unchanged}, 'nor does one of the same time');

    $r = bring($second, copy(11, 'Anna Neu'));
    ok(!$r->{json}{unchanged}, 'a newer one is taken');
    is("$r->{json}{card_id} $r->{json}{revision}", "$id 2",
        'into the same card');
    is($t->get("/v1/cards/$id", undef, $me->{token})->{json}{card}{name}{full},
        'Anna Neu', 'the first terminal sees it');
    is(bring($second, copy(11, 'Anna Neu'))->{json}{revision}, 2,
        'once more: no change');

    # the server's own change is newer than what a terminal made before it
    $t->patch("/v1/cards/$id", { name => { full => 'On Line' } },
        $me->{token});
    ok(bring($second, copy(59, 'Before'))->{json}{unchanged},
        'a change here counts as of its own time');

    is_problem(bring($me, { %{ copy(1, 'x') }, updated => $_ }), 422,
        'invalid_card', 'a time that is none') for 'yesterday', '2026', 7;
    is_problem(bring($me, [1]), 422, 'invalid_body', 'no card');
    is($t->put('/v1/me/card', copy(1, 'x'))->{status}, 401, 'signed in');
    is(scalar @{ $t->get('/v1/cards', undef, $me->{token})->{json}{items} }, 1,
        'one card in all');
};


subtest 'a clock that is ahead' => sub {
    my $ahead = person();
    my $dated = sub { my ($time, $name) = @_;
        return { %{ copy(1, $name) }, updated => $time } };
    my $r = bring($ahead, copy(1, 'Anna'));
    my $id = $r->{json}{card_id};
    ok(!bring($ahead, $dated->('2099-01-02T00:00:00Z', 'Phone'))
        ->{json}{unchanged}, 'a copy from the future is taken');
    $t->patch("/v1/cards/$id", { name => { full => 'Browser' } },
        $ahead->{token});
    $r = bring($ahead, $dated->('2099-01-02T00:00:00Z', 'Phone'));
    ok($r->{json}{unchanged}, 'once: it does not undo a later edit');
    is($r->{json}{card}{name}{full}, 'Browser', 'which stays');
    ok(bring($ahead, $dated->('2099-01-01T00:00:00Z', 'Earlier'))
        ->{json}{unchanged}, 'nor does an earlier one from the future');
    ok(!bring($ahead, $dated->('2099-01-03T00:00:00Z', 'Edited'))
        ->{json}{unchanged}, 'a later one is an edit on that phone');
    $t->put("/v1/cards/$id", { '@type' => 'Card', version => '1.0',
        name => { full => 'Whole' } }, $ahead->{token});
    ok(bring($ahead, $dated->('2099-01-03T00:00:00Z', 'Edited'))
        ->{json}{unchanged}, 'known although no card has that time any more');
    # its time has come
    $t->psql("update cardx.cards set updated_at = '2026-01-01T00:00:00Z',
        ahead_at = '2026-01-02T00:00:00Z' where card_id = '$id'");
    ok(bring($ahead, $dated->('2026-01-02T00:00:00Z', 'Came'))
        ->{json}{unchanged}, 'nor when that time has come');
    my ($now) = $t->psql("select to_char(now() at time zone 'UTC',
        'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')");
    ok(!bring($ahead, $dated->($now, 'Right'))->{json}{unchanged},
        'a phone whose clock is right is heard as ever');
};


subtest 'the first is the own card until another is named' => sub {
    my $first = account($me)->{own_card_id};
    my $other = $t->post('/v1/cards', copy(1, 'Other'), $me->{token})
        ->{json}{card_id};
    is(account($me)->{own_card_id}, $first, 'the first');
    is(patch($me, { own_card_id => $other })->{json}{own_card_id}, $other,
        'named');
    my $r = bring($me, { %{ copy(1, 'Newer') },
        updated => '2100-01-01T00:00:00Z' });
    is($r->{json}{card_id}, $other, 'terminals bring that one');
    is(patch($me, { own_card_id => undef })->{json}{own_card_id}, $first,
        'none named: the oldest');
    $t->delete("/v1/cards/$first", undef, $me->{token});
    is(account($me)->{own_card_id}, $other, 'deleted: the next');
    $t->delete("/v1/cards/$other", undef, $me->{token});
    is(account($me)->{own_card_id}, undef, 'none is left');
    is(bring($me, copy(20, 'Again'))->{status}, 201, 'a terminal brings one');
};


subtest 'at once' => sub {
    my $who = person();
    my @status = sort $t->at_once(map { my $n = $_;
        sub { bring($who, copy($n, "Copy $n"))->{status} } } 1 .. 6);
    is("@status", '200 200 200 200 200 201', 'one makes it');
    my $cards = $t->get('/v1/cards', undef, $who->{token})->{json}{items};
    is(scalar @$cards, 1, 'one card');
    is($cards->[0]{card}{name}{full}, 'Copy 6', 'the newest copy stays');
};


subtest 'who is known by address books, and by what' => sub {
    my ($true, $false) = (JSON::PP::true(), JSON::PP::false());
    my $is = sub {
        my ($patch, $on, $fields, $name) = @_;
        my $r = patch($me, { match => $patch });
        is($r->{status}, 200, $name) or diag($r->{body});
        is_deeply($r->{json}{match}, { on => $on, fields => $fields }, $name);
        is_deeply(account($me)->{match}, $r->{json}{match}, 'and stays so');
    };
    is_deeply(account($me)->{match}, { on => $true, fields => undef },
        'on, with all fields');
    $is->({ on => $false }, $false, undef, 'off');
    $is->({ fields => [qw(phones emails/work name phones)] }, $false,
        [qw(emails/work phones)], 'fields, in canonical form');
    $is->({ on => $true }, $true, [qw(emails/work phones)],
        'what is not named stays');
    $is->({}, $true, [qw(emails/work phones)], 'nothing to change');
    $is->({ fields => [] }, $true, [], 'the name alone');
    $is->({ fields => undef }, $true, undef, 'all again');
    $is->({ on => $false, fields => ['phones'] }, $false, ['phones'], 'both');
    $is->(undef, $true, undef, 'null: as at the beginning');

    for my $bad (1, 'on', [], { on => 1 }, { on => 'off' }, { off => $true },
        { on => $true, more => 1 }) {
        is_problem(patch($me, { nickname => 'no', match => $bad }), 422,
            'invalid_match', 'bad match');
    }
    is_problem(patch($me, { nickname => 'no', match => { fields => $_ } }),
        422, 'invalid_fields', 'bad fields')
        for 'phones', [1], [''], [ 'a b' ], { phones => 1 }, ['PHONES'],
            ['phones/*'];
    my $account = account($me);
    is($account->{nickname}, undef, 'nothing of these is changed');
    is_deeply($account->{match}, { on => $true, fields => undef });
};


is_problem($t->post('/v1/registrations', { phone => '+8613900000000',
    method => 'sms-up' }), 422, 'method_unavailable',
    'nobody can write to a sender that is a name');

$t->finish;
done_testing;
