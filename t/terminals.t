#!/usr/bin/perl

# The account and its terminals: /v1/me; A8, signing a terminal out.

use strict;
use warnings;
use utf8;

use FindBin;
use lib "$FindBin::Bin/lib";

use Test::More;

use CardxTest qw(is_problem);

my $t = CardxTest->new->start;

my $PHONE = '+8613800138000';
my $me = $t->register($PHONE, terminal => { name => "Zoë's phone" });
my $stranger = $t->register('+8613800138001');
my %mine = (token => $me->{access_token});

sub status_of {
    my ($token) = @_;
    return $t->get('/v1/me', undef, { token => $token })->{status};
}

sub second { $t->sign_in($PHONE, $me->{initial_password}, 'browser') }

sub sign_out {
    my ($terminal_id, %headers) = @_;
    return $t->delete("/v1/me/terminals/$terminal_id", undef,
        { %mine, %headers });
}


subtest 'the account' => sub {
    my $r = $t->get('/v1/me', undef, \%mine);
    is($r->{status}, 200);
    like(delete $r->{json}{created_at}, qr/^20\d\d-\d\d-\d\dT[\d:]{8}Z$/);
    is_deeply($r->{json}, { user_id => $me->{user_id}, phone => $PHONE,
        nickname => undef, own_card_id => undef, locale => undef,
        match => { on => JSON::PP::true(), fields => undef }, approvals => [], notices => [] });
    is_problem($t->get('/v1/me'), 401, 'unauthorized', 'not for nobody');

    my $patch = sub { $t->patch('/v1/me', $_[0], \%mine) };
    $r = $patch->({ nickname => '小明', locale => 'zh-Hans-CN' });
    is($r->{status}, 200) or diag($r->{body});
    is($r->{json}{nickname}, '小明');
    is($r->{json}{locale}, 'zh-Hans-CN');
    $r = $patch->({ nickname => undef });
    is($r->{json}{nickname}, undef, 'null takes away');
    is($r->{json}{locale}, 'zh-Hans-CN', 'what is not named stays');
    is($patch->({})->{status}, 200, 'nothing to change');

    my @bad = ([ { nickname => '' }, 'invalid_nickname' ],
        [ { nickname => "a\nb" }, 'invalid_nickname' ],
        [ { nickname => "\x{202e}annA" }, 'invalid_nickname' ],
        [ { nickname => "An\x{200b}na" }, 'invalid_nickname' ],
        [ { nickname => 'x' x 201 }, 'invalid_nickname' ],
        [ { nickname => ['x'] }, 'invalid_nickname' ],
        [ { own_card_id => 'x' }, 'invalid_own_card_id' ],
        [ { own_card_id => $me->{user_id} }, 'invalid_own_card_id' ],
        [ { own_card_id => 7 }, 'invalid_own_card_id' ],
        map({ [ { locale => $_ }, 'invalid_locale' ] } 'x', 'zh_CN', 'zh-',
            '-zh', '12', 'english12', 'en--us', 'x' x 36, '中'),
        [ { match => { on => 'yes' } }, 'invalid_match' ],
        [ { phone => '+8613800138009' }, 'not_writable' ],
        [ { user_id => $stranger->{user_id} }, 'not_writable' ]);
    is_problem($patch->({ nickname => 'no', %{ $_->[0] } }), 422, $_->[1],
        "bad: $_->[1]") for @bad;
    is_problem($t->patch('/v1/me', '[]', { %mine, 'Content-Type' =>
        'application/merge-patch+json' }), 422, 'invalid_body', 'an array');
    is_problem($t->patch('/v1/me', '{}', { %mine, 'Content-Type' =>
        'text/plain' }), 415, 'unsupported_type', 'a text');
    is($t->get('/v1/me', undef, \%mine)->{json}{nickname}, undef,
        'none of it changed anything');
};


subtest 'the own card' => sub {
    my $own = sub { $t->get('/v1/me', undef, \%mine)->{json}{own_card_id} };
    my $card = sub {
        my ($name, $token) = @_;
        my $r = $t->post('/v1/cards', { '@type' => 'Card', version => '1.0',
            name => { full => $name } }, { token => $token });
        return $r->{json}{card_id} // do { diag($r->{body}); 'none' };
    };
    my $theirs = $card->('Eve', $stranger->{access_token});
    my ($first, $other) = map { $card->($_, $mine{token}) } 'One', 'Two';
    is($own->(), $first, 'the first, until another is named');

    is($t->patch('/v1/me', { own_card_id => $other }, \%mine)
        ->{json}{own_card_id}, $other, 'named');
    is_problem($t->patch('/v1/me', { own_card_id => $theirs }, \%mine), 422,
        'invalid_own_card_id', 'not another\'s');
    is($own->(), $other, 'nothing changed');

    $t->delete("/v1/cards/$other", undef, \%mine);
    is($own->(), $first, 'deleted: the first again');
    is_problem($t->patch('/v1/me', { own_card_id => $other }, \%mine), 422,
        'invalid_own_card_id', 'nor one that is deleted');
    is($t->patch('/v1/me', { own_card_id => undef }, \%mine)
        ->{json}{own_card_id}, $first, 'none named');
};


subtest 'the list' => sub {
    my $second = second();
    my $r = $t->get('/v1/me/terminals', undef, \%mine);
    is($r->{status}, 200);
    my %item = map { $_->{terminal_id} => $_ } @{ $r->{json}{items} };
    is_deeply([ sort keys %item ],
        [ sort $me->{terminal_id}, $second->{terminal_id} ], 'both');
    is($item{ $me->{terminal_id} }{name}, "Zoë's phone");
    ok($item{ $me->{terminal_id} }{current}, 'this one');
    ok(!$item{ $second->{terminal_id} }{current}, 'not that one');
    like($item{ $second->{terminal_id} }{$_}, qr/^20.*Z$/, $_)
        for qw(created_at seen_at);
    ok(!exists $r->{json}{next}, 'the end');

    $r = $t->get('/v1/me/terminals?limit=1', undef, \%mine);
    my $page = $r->{json};
    is(scalar @{ $page->{items} }, 1, 'in pages');
    $r = $t->get("/v1/me/terminals?limit=1&cursor=$page->{next}", undef,
        \%mine);
    isnt($r->{json}{items}[0]{terminal_id}, $page->{items}[0]{terminal_id});
    ok(!exists $r->{json}{next}, 'the end');
    is_problem($t->get("/v1/me/terminals?$_", undef, \%mine), 422,
        /limit/ ? 'invalid_limit' : 'invalid_cursor', $_)
        for 'limit=0', 'limit=101', 'limit=x', 'cursor=x', 'cursor=1234567890';
    is(sign_out($second->{terminal_id})->{status}, 204);
};


subtest 'signing out' => sub {
    my $lost = second();
    is(status_of($lost->{access_token}), 200, 'it is in use');
    my $newer = $t->post('/v1/sessions/refresh',
        { refresh_token => $lost->{refresh_token} })->{json};

    is_problem(sign_out($stranger->{terminal_id}), 404, 'not_found',
        'another\'s terminal');
    is(status_of($stranger->{access_token}), 200, '... is still in use');
    is_problem(sign_out($_), 404, 'not_found', "no terminal: $_")
        for '100000000', '1', '0123456789', '012345678', 'x',
            '1234567890123', '-12345678', '1%20or%201';
    is_problem($t->delete("/v1/me/terminals/$lost->{terminal_id}", undef, {}),
        401, 'unauthorized', 'nobody');

    my $r = sign_out($lost->{terminal_id});
    is($r->{status}, 204, 'out') or diag($r->{body});
    for my $token ($lost->{access_token}, $newer->{access_token}) {
        $r = $t->get('/v1/me', undef, { token => $token });
        is_problem($r, 401, 'unauthorized', 'at once');
        ok($r->{headers}{'www-authenticate'}, 'RFC 6750');
    }
    for my $token ($lost->{refresh_token}, $newer->{refresh_token}) {
        is_problem($t->post('/v1/sessions/refresh',
            { refresh_token => $token }), 401, 'unauthorized', 'no refresh');
    }
    is($t->psql("select count(*) from cardx.access_tokens
        where terminal_id = $lost->{terminal_id}"), 0, 'no tokens are kept');
    unlike($t->get('/v1/me/terminals', undef, \%mine)->{body},
        qr/$lost->{terminal_id}/, 'not in the list');
    is(sign_out($lost->{terminal_id})->{status}, 204, 'once more: the same');
    is(status_of($me->{access_token}), 200, 'the other goes on');

    # by a worker too, when the edge has forgotten
    $t->redis('FLUSHALL');
    is(status_of($newer->{access_token}), 401, 'after a flush');
    ok($t->wait_for(sub { ($t->redis('GET', 'cardx:ready') // '') ne '' }),
        'rebuilt');
    is(status_of($newer->{access_token}), 401, 'and after the rebuild');
    ok($t->settle, 'denials can be confirmed again');
};


subtest 'oneself' => sub {
    my $other = second();
    my $r = $t->delete("/v1/me/terminals/$other->{terminal_id}", undef,
        { token => $other->{access_token} });
    is($r->{status}, 204, 'signed out by itself');
    is(status_of($other->{access_token}), 401);
};


subtest 'Redis away' => sub {
    my $lost = second();
    $t->kill9('redis');
    my $late = second();
    is(status_of($late->{access_token}), 200, 'signing in goes on');

    my $r = sign_out($lost->{terminal_id});
    is_problem($r, 503, 'not_yet_in_force', 'done, not yet in force');
    ok($r->{headers}{'retry-after'}, 'Retry-After');
    is(status_of($lost->{access_token}), 401, 'workers refuse it already');

    $t->start;
    ok($t->wait_for(sub { sign_out($lost->{terminal_id})->{status} == 204 }),
        'in force');
    is(status_of($lost->{access_token}), 401);
    is(status_of($late->{access_token}), 200);
};


subtest 'many at once' => sub {
    my @terminals = map { second() } 1 .. 6;
    my @pids;
    for my $terminal (@terminals) {
        my $pid = fork // die "fork: $!";
        if (!$pid) {
            $t->connect_anew;
            # refreshing while it is signed out
            for (1 .. 20) {
                my $r = $t->post('/v1/sessions/refresh',
                    { refresh_token => $terminal->{refresh_token} });
                last if $r->{status} != 200;
                $terminal = $r->{json};
            }
            POSIX::_exit(status_of($terminal->{access_token}) == 401 ? 0 : 1);
        }
        push @pids, $pid;
    }
    is(sign_out($_->{terminal_id})->{status}, 204) for @terminals;
    for my $pid (@pids) {
        waitpid $pid, 0;
        is($?, 0, 'no token survives, however late it was given');
    }
};


$t->finish;
done_testing;
