#!/usr/bin/perl

# D1, D2: a number is proved by a code, and becomes an account, or opens one.

use strict;
use warnings;
use utf8;

use FindBin;
use lib "$FindBin::Bin/lib";

use Test::More;
use Time::Local qw(timegm);

use CardxTest qw(is_problem);

my $t = CardxTest->new->start;

my $PHONE = '+8613800138000';
my $next = 13900000000;

sub number { '+86' . ++$next }

sub start {
    my ($phone, %headers) = @_;
    return $t->post('/v1/registrations',
        { phone => $phone, method => 'sms-down' }, \%headers);
}

sub me {
    my ($token) = @_;
    return $t->get('/v1/me', undef, { token => $token })->{json};
}

sub code_in { ($_[0] // '') =~ /(?<!\d)(\d{6})(?!\d)/ ? $1 : undef }

# A started registration: (id, code).
sub started {
    my ($phone) = @_;
    my $r = start($phone);
    is($r->{status}, 202, 'started') or diag($r->{body});
    my $code = code_in($t->sms($phone));
    ok($code, 'a code arrives');
    return ($r->{json}{registration_id}, $code);
}

sub verify {
    my ($id, $code, %more) = @_;
    my $headers = delete $more{headers};
    return $t->post("/v1/registrations/$id/verify",
        { code => $code, terminal => { name => 'phone' }, %more }, $headers);
}

# The number may have another code at once.
# A copy, since Perl would make a JSON number of what was counted with.
sub other {
    my ($code) = @_;
    return sprintf '%06d', ($code + 1) % 1_000_000;
}


subtest 'bad input stores nothing' => sub {
    my @bad = (
        [ {}, 'invalid_method' ],
        [ { method => 'sms-down' }, 'invalid_phone' ],
        [ { phone => $PHONE }, 'invalid_method' ],
        [ { phone => $PHONE, method => 'pigeon' }, 'invalid_method' ],
        [ { phone => $PHONE, method => 7 }, 'invalid_method' ],
        [ { phone => '1', method => 'sms-up' }, 'invalid_phone' ],
        [ { phone => $PHONE, method => 'sms-down', via => 'x' },
            'invalid_via' ],
        map({ [ { phone => $_, method => 'sms-down' }, 'invalid_phone' ] }
            '', '+', '110110110110110110110', '+86', 'hello', '+86138', [],
            {}, 13800138000, "+8613800138000'; drop table users", '+0000000',
            '1' x 500, JSON::PP::false()),
    );
    is_problem($t->post('/v1/registrations', $_->[0]), 422, $_->[1],
        JSON::PP->new->canonical->allow_nonref->encode($_->[0]))
        for @bad;

    is_problem($t->post('/v1/registrations', '[1]',
        { 'Content-Type' => 'application/json' }), 422, 'invalid_body',
        'an array');
    is_problem($t->post('/v1/registrations', '{"phone"',
        { 'Content-Type' => 'application/json' }), 400, 'invalid_json',
        'half of it');
    is_problem($t->post('/v1/registrations', 'phone=1',
        { 'Content-Type' => 'application/x-www-form-urlencoded' }), 415,
        'unsupported_type', 'a form');
    is_problem($t->get('/v1/registrations'), 405, 'method_not_allowed', 'GET');

    is($t->psql('select count(*) from cardx.registrations'), 0,
        'nothing stored');
    is($t->psql('select count(*) from cardx.sms'), 0, 'nothing to send');
};


my $me;

subtest 'a new account' => sub {
    my $r = start($PHONE, 'Accept-Language' => 'en');
    is($r->{status}, 202);
    is_deeply([ sort keys %{ $r->{json} } ],
        [qw(expires_at method registration_id)]);
    is($r->{json}{method}, 'sms-down');
    like($r->{headers}{'cache-control'}, qr/no-store/);
    my @at = $r->{json}{expires_at}
        =~ /^(\d{4})-(\d\d)-(\d\d)T(\d\d):(\d\d):(\d\d)Z$/;
    my $left = timegm(@at[5, 4, 3, 2], $at[1] - 1, $at[0]) - time;
    ok($left > 560 && $left <= 601, 'ten minutes');

    my $id = $r->{json}{registration_id};
    my $text = $t->sms($PHONE);
    my $code = code_in($text);
    like($text, qr/code/, 'in English');

    is($t->psql("select count(*) from cardx.registrations
        where position(convert_to('$code', 'UTF8') in code_hmac) > 0"), 0,
        'the code is not stored');
    $t->wait_for(sub {
        $t->psql("select state from cardx.sms") eq 'sent';
    });
    is($t->psql('select count(sealed_text) from cardx.sms'), 0,
        'the text is erased once it is sent');

    is_problem($t->post("/v1/registrations/$id/verify", { code => $code }),
        422, 'invalid_terminal', 'no terminal');
    is_problem(verify($id, $code, terminal => $_), 422, 'invalid_terminal',
        'a bad terminal')
        for 'x', {}, { name => '' }, { name => 1 }, { name => "a\nb" },
            { name => 'x' x 201 };
    is_problem(verify($id, $_), 422, 'invalid_code', 'not a code')
        for undef, '', '12345', '1234567', '12345x', 123456, "12\x{664}456";
    is_problem(verify($id, $code, start_fresh => 'yes'), 422,
        'invalid_start_fresh', 'start_fresh is a boolean');
    is_problem(verify($id, $code, password => 'x' x 129), 422,
        'invalid_password', 'a long password');
    is($t->psql('select tries from cardx.registrations'), 0,
        'none of this was a try');

    $r = verify($id, other($code));
    is_problem($r, 422, 'wrong_code', 'a wrong code');
    is($r->{json}{tries_left}, 4);

    (my $forged = $id) =~ s/^(.)/$1 eq 'A' ? 'B' : 'A'/e;
    is_problem(verify($forged, $code), 404, 'not_found', 'a forged id');

    $r = verify($id, $code);
    is($r->{status}, 200) or diag($r->{body});
    $me = $r->{json};
    like($me->{user_id}, qr/^[\w-]{28}$/);
    like($me->{terminal_id}, qr/^[1-9]\d{8}$/);
    like($me->{access_token}, qr/^[\w-]{76}$/);
    like($me->{refresh_token}, qr/^[\w-]{76}$/);
    is($me->{expires_in}, 900);
    is($me->{token_type}, 'Bearer');
    ok($me->{new_account}, 'new_account');
    like($me->{initial_password}, qr/^[a-z2-9]{10}$/);

    is(me($me->{access_token})->{phone},
        $PHONE, 'the token opens the account');
    is_problem(verify($id, $code), 409, 'registration_finished', 'once');

    my $second = $t->sign_in($PHONE, $me->{initial_password});
    is($second->{user_id}, $me->{user_id}, 'the initial password works');
    ok(!exists $second->{initial_password}, 'and is not told again');
};


subtest 'the language of the SMS' => sub {
    my $phone = number();
    start($phone, 'Accept-Language' => 'zh-CN,zh;q=0.9,en;q=0.8');
    my $text = $t->sms($phone);
    like($text, qr/验证码/, 'Chinese');
    ok(code_in($text), 'with a code');
    cmp_ok(length $text, '<=', 70, 'in one part');

    $phone = number();
    start($phone, 'Accept-Language' => 'fr');
    like($t->sms($phone), qr/\bcode\b/, 'English, if there is nothing better');
};


subtest 'nothing tells who is registered' => sub {
    $t->forget_limits;
    my @answers = map { start($_) } $PHONE, number();
    for my $r (@answers) {
        $r->{names} = [ sort grep { $_ ne 'date' } keys %{ $r->{headers} } ];
        $r->{body} =~ s/"(?:[\w-]{28}|20[^"]*Z)"/""/g;
    }
    is($answers[0]{status}, $answers[1]{status});
    is($answers[0]{body}, $answers[1]{body});
    is_deeply($answers[0]{names}, $answers[1]{names});

    @answers = map {
        my $r = start($_);
        "$r->{status} $r->{json}{code}";
    } $PHONE, "+86$next";
    is($answers[0], '429 rate_limited');
    is($answers[0], $answers[1], 'too often: the same');

    $t->forget_limits;
    for my $phone ($PHONE, number()) {
        my ($id, $code) = started($phone);
        my $r = verify($id, other($code), start_fresh => JSON::PP::true());
        is_problem($r, 422, 'wrong_code', 'a wrong code: the same');
        is($r->{json}{tries_left}, 4);
    }
};


subtest 'limits' => sub {
    my $phone = number();
    my @status = $t->at_once(map { sub { start($phone)->{status} } } 1 .. 5);
    is_deeply([ sort @status ], [ 202, (429) x 4 ], 'one of five at once');

    my $r = start($phone);
    is_problem($r, 429, 'rate_limited', 'one a minute');
    like($r->{headers}{'retry-after'}, qr/^(?:60|[1-5]\d)$/);

    for (2 .. 5) {
        $t->psql("update cardx.registrations set
            created_at = created_at - interval '61 seconds'
            where phone = '$phone'");
        is(start($phone)->{status}, 202, "$_ in an hour");
    }
    $t->psql("update cardx.registrations set
        created_at = created_at - interval '61 seconds'
        where phone = '$phone'");
    $r = start($phone);
    is_problem($r, 429, 'rate_limited', 'five an hour');
    cmp_ok($r->{headers}{'retry-after'}, '>', 3000);

    $t->psql("insert into cardx.registrations (registration_id, phone, method,
        code_hmac, address, expires_at)
        select 'x' || n, '+861' || n, 'sms-down', '', '127.0.0.1', now()
        from generate_series(1, 1000) n");
    $r = start(number());
    is_problem($r, 429, 'rate_limited', 'too many from one address');
    cmp_ok($r->{headers}{'retry-after'}, '>', 3000);
    $t->psql("delete from cardx.registrations where registration_id like 'x%'");
};


# The start of a registration as nginx would hand it on, for a client that
# can't be had here; its answer as text.
sub start_from {
    my ($address) = @_;
    my $body = '{"phone":"' . number() . '","method":"sms-down"}';
    my %parameter = (REQUEST_METHOD => 'POST',
        REQUEST_URI => '/v1/registrations', REMOTE_ADDR => $address,
        CONTENT_TYPE => 'application/json', CONTENT_LENGTH => length $body);
    my $parameters = join '', map {
        pack('CC', length $_, length $parameter{$_}) . $_ . $parameter{$_};
    } sort keys %parameter;

    my $socket = IO::Socket::UNIX->new(Peer => $t->var . '/run/slow.sock')
        or die "slow.sock: $!";
    for ([1, "\0\1\0\0\0\0\0\0"], [4, $parameters], [4, ''], [5, $body],
        [5, '']) {
        print $socket pack('CCnnCC', 1, $_->[0], 1, length $_->[1], 0, 0),
            $_->[1];
    }
    $socket->flush;
    local $/;
    return scalar <$socket>;
}

subtest 'what is one address' => sub {
    my $stored = sub {
        my ($address) = @_;
        like(start_from($address), qr/Status: 202/, $address);
        return $t->psql('select address from cardx.registrations
            order by created_at desc limit 1');
    };
    is($stored->('2001:db8:1:2:3:4:5:6'), '2001:db8:1:2::/64',
        'a subscriber of IPv6');
    is($stored->('::ffff:192.0.2.7'), '192.0.2.7', 'IPv4 in IPv6');
    is($stored->('192.0.2.7'), '192.0.2.7', 'IPv4');
    is($stored->('unix:'), '', 'none');
};


subtest 'five tries' => sub {
    my ($id, $code) = started(number());
    my $wrong = other($code);

    my @codes = $t->at_once(map {
        # a key must not make a try undone
        my %headers = $_ % 2 ? () : ('Idempotency-Key' => "try-$_");
        sub { verify($id, $wrong, headers => \%headers)->{json}{code} };
    } 1 .. 12);
    is_deeply([ sort @codes ], [ ('too_many_tries') x 7, ('wrong_code') x 5 ],
        'at once, too');

    my $r = verify($id, $code);
    is_problem($r, 429, 'too_many_tries', 'the right one comes too late');
    ok($r->{headers}{'retry-after'});
    is($t->psql("select tries from cardx.registrations
        where registration_id = '$id'"), 5, 'all counted');

    ($id, $code) = started(number());
    $t->psql("update cardx.registrations set expires_at = now()
        where registration_id = '$id'");
    is_problem(verify($id, $code), 410, 'registration_expired',
        'ten minutes are over');
};


subtest 'one registration, one account' => sub {
    my $phone = number();
    my ($id, $code) = started($phone);
    my @status = $t->at_once(map { sub { verify($id, $code)->{status} } } 1 .. 4);
    is_deeply([ sort @status ], [ 200, 409, 409, 409 ], 'four at once');
    is($t->psql("select count(*) from cardx.users where phone = '$phone'"), 1);
    is($t->psql("select count(*) from cardx.terminals join cardx.users
        using (user_id) where phone = '$phone'"), 1);

    # two registrations of one number
    $phone = number();
    my @started = map { $t->forget_limits; [ started($phone) ] } 1, 2;
    my @codes = $t->at_once(map {
        my ($id, $code) = @$_;
        sub { my $r = verify($id, $code); "$r->{status} "
            . ($r->{json}{code} // '') };
    } @started);
    is(scalar(grep { /^200 / } @codes), 1, 'one is first') or diag("@codes");
    is(scalar(grep { /^409 / } @codes), 1, 'the other is told');
    is($t->psql("select count(*) from cardx.users where phone = '$phone'"), 1);

    # the answer is lost: the call is made again
    ($id, $code) = started(number());
    my %headers = ('Idempotency-Key' => 'once');
    my $first = verify($id, $code, headers => \%headers);
    is($first->{status}, 200);
    my $again = verify($id, $code, headers => \%headers);
    is($again->{body}, $first->{body}, 'with its key: the same answer');
    is_problem(verify($id, $code, headers => { 'Idempotency-Key' => 'two' }),
        409, 'registration_finished', 'with another: finished');
};


subtest 'a number that has an account: its password' => sub {
    $t->forget_limits;
    my ($id, $code) = started($PHONE);
    is_problem(verify($id, $code), 409, 'account_exists', 'SMS alone');
    is_problem(verify($id, $code, password => 'wrong-one'), 403,
        'wrong_password', 'a wrong password');
    is_problem(verify($id, $code, password => $me->{initial_password},
        start_fresh => JSON::PP::true()), 422, 'invalid_start_fresh', 'both');
    is_problem(verify($id, other($code), password => $me->{initial_password}),
        422, 'wrong_code', 'the password alone');

    my $r = verify($id, $code, password => $me->{initial_password});
    is($r->{status}, 200, 'the right one') or diag($r->{body});
    is($r->{json}{user_id}, $me->{user_id});
    isnt($r->{json}{terminal_id}, $me->{terminal_id}, 'another terminal');
    ok(!$r->{json}{new_account});
    ok(!exists $r->{json}{initial_password});
};


subtest '... or approval by a terminal' => sub {
    my $stranger = $t->register(number());
    my %mine = (token => $me->{access_token});
    $t->forget_limits;
    my ($id, $code) = started($PHONE);

    is_deeply(me($mine{token})->{approvals}, [],
        'nobody asks before the proof');
    is_problem(verify($id, $code, terminal => { name => '新手机' }), 409,
        'account_exists', 'asks') for 1, 2;

    my $approvals = me($mine{token})->{approvals};
    is(scalar @$approvals, 1, 'one question');
    is_deeply($approvals->[0]{terminal}, { name => '新手机' });
    like($approvals->[0]{$_}, qr/^20.*Z$/, $_) for qw(created_at expires_at);
    is_deeply(me($stranger->{access_token})->{approvals}, [],
        'not put to others');

    my $path = "/v1/me/approvals/$approvals->[0]{approval_id}";
    is_problem($t->post($path, { approve => 1 }, \%mine), 422,
        'invalid_approve', 'not a boolean');
    is_problem($t->post($path, $_, \%mine), 422, 'invalid_approve',
        'unknown text') for {}, { approve => 'yes' }, { text => 'yes' },
        { approve => undef }, { approve => ['true'] };
    is_problem($t->post($path, @$_), 415, 'unsupported_type', 'no JSON')
        for ['yes', { %mine, 'Content-Type' => 'text/plain' }];
    is_problem($t->post($path, $_->[0], { %mine,
        'Content-Type' => 'application/json' }), @$_[1, 2], $_->[0])
        for ['yes', 400, 'invalid_json'], ['"yes"', 422, 'invalid_body'],
        ['[true]', 422, 'invalid_body'], ['', 422, 'invalid_approve'];
    is_problem($t->post("/v1/me/approvals/$_", { approve => JSON::PP::true() },
        \%mine), 404, 'not_found', "nothing asks: $_")
        for 'yes', '%ff', $id, substr($path, -26) =~ tr/a-z/b-za/r;
    is_problem($t->post($path, { approve => JSON::PP::true() },
        { token => $stranger->{access_token} }), 404, 'not_found',
        'a stranger can not approve');
    is_problem($t->post($path, { approve => JSON::PP::true() }), 401,
        'unauthorized', 'nor can nobody');
    is_problem(verify($id, $code), 409, 'account_exists', 'still closed');

    is(join(' ', $t->at_once(map { sub { $t->post($path,
        { approve => JSON::PP::true() }, \%mine)->{status} } } 1 .. 12)),
        join(' ', (204) x 12), 'approved, by as many as say so');
    is_problem($t->post($path, { approve => JSON::PP::false() }, \%mine), 409,
        'approval_closed', 'that is that');
    is_deeply(me($mine{token})->{approvals}, []);

    my $r = verify($id, $code);
    is($r->{status}, 200, 'open') or diag($r->{body});
    is($r->{json}{user_id}, $me->{user_id});
    ok(!$r->{json}{new_account});

    $t->forget_limits;
    ($id, $code) = started($PHONE);
    verify($id, $code);
    $approvals = me($mine{token})->{approvals};
    $path = "/v1/me/approvals/$approvals->[0]{approval_id}";
    is($t->post($path, { approve => JSON::PP::false() }, \%mine)->{status},
        204, 'refused');
    is_problem(verify($id, $code), 403, 'approval_refused', 'told so');

    $t->forget_limits;
    ($id, $code) = started($PHONE);
    verify($id, $code);
    $t->psql("update cardx.approvals set expires_at = now()
        where registration_id = '$id'");
    is_deeply(me($mine{token})->{approvals}, [], 'too late');
};


subtest '... or a fresh start' => sub {
    my $phone = number();
    my $old = $t->register($phone);
    $t->forget_limits;
    my ($id, $code) = started($phone);
    my $r = verify($id, $code, start_fresh => JSON::PP::true());
    is($r->{status}, 200) or diag($r->{body});
    my $new = $r->{json};
    isnt($new->{user_id}, $old->{user_id}, 'another account');
    ok($new->{new_account});
    ok($new->{initial_password});

    my $account = me($old->{access_token});
    is($account->{user_id}, $old->{user_id}, 'the old one is still open');
    is($account->{phone}, undef, 'without its number');
    is($account->{notices}[0]{kind}, 'phone_lost', 'and is told');
    is($t->post('/v1/sessions/refresh',
        { refresh_token => $old->{refresh_token} })->{status}, 200,
        'and stays signed in');
    is($t->post('/v1/me/password', { old => $old->{initial_password},
        new => 'another one' }, { token => $old->{access_token} })->{status},
        204, 'its password is its own');

    is(me($new->{access_token})->{phone},
        $phone, 'the number is the new one\'s');
    is($t->sign_in($phone, $new->{initial_password})->{user_id},
        $new->{user_id}, 'and so is the sign-in');
    is_problem($t->post('/v1/sessions', { phone => $phone,
        password => 'another one', terminal => { name => 'x' } }), 401,
        'wrong_password', 'the old password opens nothing with it');

    # nobody there: the same as without
    $phone = number();
    ($id, $code) = started($phone);
    is(verify($id, $code, start_fresh => JSON::PP::true())->{status}, 200,
        'a fresh start of a new number');
};


subtest 'no log holds a secret' => sub {
    my $logs = join '', map { $t->read_log($_) }
        map { m{([^/]+)$} } glob $t->var . '/log/*.log';
    my $digits = substr $PHONE, 1;
    unlike($logs, qr/\Q$digits\E/, 'no number');
    unlike($logs, qr/\Q$me->{$_}\E/, "no $_")
        for qw(access_token refresh_token initial_password);
};


$t->finish;
done_testing;
