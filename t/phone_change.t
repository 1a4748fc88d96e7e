#!/usr/bin/perl

# D8: another number for an account, proved down or up and by the password;
# the own cards show it at once, and the old number is nobody's.

use strict;
use warnings;
use utf8;

use FindBin;
use lib "$FindBin::Bin/lib";

use Test::More;
use Time::HiRes ();

use CardxTest qw(is_problem);

my $t = CardxTest->new(settings => { sms_per_address => 100000 })->start;
my $next = 13900000000;

sub number { '+86' . ++$next }

sub person {
    my $me = $t->register(number());
    $me->{token} = { token => $me->{access_token} };
    return $me;
}

sub start {
    my ($me, $phone, $method) = @_;
    return $t->post('/v1/me/phone',
        { phone => $phone, method => $method || 'sms-down' }, $me->{token});
}

sub verify {
    my ($me, $rebind, %more) = @_;
    my $headers = delete $more{headers} || {};
    return $t->post("/v1/me/phone/$rebind/verify",
        { password => $me->{initial_password}, %more },
        { %{ $me->{token} }, %$headers });
}

# A change that waits for its code: (rebind_id, code).
sub started {
    my ($me, $phone) = @_;
    my $r = start($me, $phone);
    is($r->{status}, 202, 'started') or diag($r->{body});
    my ($code) = ($t->sms($phone) // '') =~ /(?<!\d)(\d{6})(?!\d)/;
    ok($code, 'a code arrives');
    return ($r->{json}{rebind_id}, $code);
}

sub phone_of {
    my ($me) = @_;
    return $t->get('/v1/me', undef, $me->{token})->{json}{phone};
}

sub card {
    my ($me, %more) = @_;
    return $t->card($me->{token}, name => { full => 'Zoë' }, %more);
}

sub card_of {
    my ($me, $card_id) = @_;
    return $t->get("/v1/cards/$card_id", undef, $me->{token})->{json};
}

my $true = JSON::PP::true();


subtest 'a change, and what the cards show' => sub {
    my $me = person();
    my $old = $me->{phone};
    (my $national = $old) =~ s/^\+86//;
    my $card_id = card($me, updated => '2026-01-01T00:00:00Z', phones => {
        plain => { number => $old, label => 'work' },
        blanks => { number => '+86 ' . join(' ', $national =~
            /^(...)(....)(....)$/) },
        national => { number => $national },
        uri => { number => "tel:$old" },
        another => { number => '+4930123456' },
        words => { number => 'ask the porter' },
    }, localizations => { zh => {
        'phones/plain/number' => $old,
        'phones/uri' => { number => "tel:$old" },
        'name/full' => '佐伊',
    } });
    my $other = card($me, phones => { x => { number => '+4930123456' } });
    my $revision = card_of($me, $other)->{revision};

    my $key = $t->post("/v1/cards/$card_id/keys", {}, $me->{token})->{json};
    my $seen = sub {
        return $t->get("/c/$card_id", undef, { key => $key->{key} })
            ->{json}{phones}{plain}{number};
    };
    is($seen->(), $old, 'who has a key sees the old number');

    my $new = number();
    my ($id, $code) = started($me, $new);
    is(phone_of($me), $old, 'nothing changes before the proof');
    my $r = verify($me, $id, code => $code);
    is($r->{status}, 200, 'bound') or diag($r->{body});
    is($r->{json}{phone}, $new, 'the account as it is now');
    is($seen->(), $new, 'and the new one at once');

    my $card = card_of($me, $card_id);
    (my $digits = $new) =~ s/^\+86//;
    my $read = '+86 ' . join ' ', $digits =~ /^(...)(....)(....)$/;
    is_deeply($card->{card}{phones}, {
        plain => { number => $new, label => 'work' },
        blanks => { number => $read },
        national => { number => $read },
        uri => { number => "tel:$new" },
        another => { number => '+4930123456' },
        words => { number => 'ask the porter' },
    }, 'the same number in each spelling');
    is_deeply($card->{card}{localizations}{zh}, {
        'phones/plain/number' => $new,
        'phones/uri' => { number => "tel:$new" },
        'name/full' => '佐伊',
    }, 'and in other languages');
    cmp_ok($card->{card}{updated}, 'gt', '2026-01-01T00:00:00Z',
        'updated is now');
    is(card_of($me, $other)->{revision}, $revision,
        'a card without it is as it was');

    $r = $t->put('/v1/me/card', { '@type' => 'Card', version => '1.0',
        updated => '2026-01-02T00:00:00Z', name => { full => 'Zoë' },
        phones => { plain => { number => $old } } }, $me->{token});
    ok($r->{json}{unchanged}, "an older copy of a terminal's does not undo it");

    is($t->post('/v1/sessions', { phone => $new, terminal => { name => 'x' },
        password => $me->{initial_password} })->{status}, 200,
        'the new number signs in');
    is_problem($t->post('/v1/sessions', { phone => $old, terminal =>
        { name => 'x' }, password => $me->{initial_password} }), 401,
        'wrong_password', 'the old one does not');

    $revision = card_of($me, $card_id)->{revision};
    $r = verify($me, $id, code => $code);
    is("$r->{status} $r->{json}{phone}", "200 $new", 'repeated: the same');
    is(card_of($me, $card_id)->{revision}, $revision, 'without effect');

    $t->forget_limits;
    my $heir = $t->register($old);
    ok($heir->{new_account}, 'the old number is free');
    isnt($heir->{user_id}, $me->{user_id});
    is($t->get('/v1/cards', undef, { token => $heir->{access_token} })
        ->{json}{items}[0], undef, 'and inherits nothing');
    is_problem(verify($me, $id, code => $code, password => 'wrong password'),
        403, 'wrong_password', 'repeating takes the password, too');
};


subtest 'proved by a message from the phone' => sub {
    my $me = person();
    my $new = number();
    my $r = start($me, $new, 'sms-up');
    is($r->{status}, 202);
    is_deeply([ sort keys %{ $r->{json} } ],
        [qw(expires_at method rebind_id send_to text)]);
    my $id = $r->{json}{rebind_id};
    is_problem(verify($me, $id), 409, 'not_yet', 'not yet');
    is($t->ops('GET', '/sms/in?secret=' . $t->{sms_secret} . '&to=13013&from='
        . substr($new, 1) . '&text=' . $r->{json}{text} =~ s/ /+/gr)->{status},
        200);
    is(verify($me, $id)->{json}{phone}, $new, 'bound');
};


subtest 'what is refused changes nothing' => sub {
    my $me = person();
    my $stranger = person();
    my $card_id = card($me, phones => { x => { number => $me->{phone} } });

    is_problem(start($me, $_), 422, 'invalid_phone', 'not a number')
        for undef, '', 'x', 7, [];
    is_problem(start($me, $me->{phone}), 422, 'invalid_phone', 'the own one');
    is_problem(start($me, number(), 'pigeon'), 422, 'invalid_method', 'method');
    is($t->post('/v1/me/phone', { phone => number(), method => 'sms-down' })
        ->{status}, 401, 'signed in');

    my $new = number();
    my ($id, $code) = started($me, $new);
    my $wrong = sprintf '%06d', ("$code" + 1) % 1_000_000;
    is_problem(verify($me, $id, code => $_), 422, 'invalid_code', 'not a code')
        for undef, '', '12345', 'abcdef', 123456;
    is_problem(verify($me, $id, code => $code, password => $_), 422,
        'invalid_password', 'no password') for undef, '', 7, 'x' x 129;
    is_problem(verify($me, $id, code => $code, start_fresh => 'x'), 422,
        'invalid_start_fresh', 'start_fresh');
    my $r = verify($me, $id, code => $wrong);
    is_problem($r, 422, 'wrong_code', 'a wrong code');
    is($r->{json}{tries_left}, 4);
    is_problem(verify($me, $id, code => $code, password => 'not this one'),
        403, 'wrong_password', 'a wrong password');
    is_problem(verify($stranger, $id, code => $code), 404, 'not_found',
        "somebody else's");
    is_problem($t->post("/v1/registrations/$id/verify", { code => $code,
        terminal => { name => 'x' } }), 404, 'not_found',
        'it is no registration');

    $t->forget_limits;
    my $number = number();
    $r = $t->post('/v1/registrations', { phone => $number,
        method => 'sms-down' });
    my ($other) = $t->sms($number) =~ /(\d{6})/;
    is_problem(verify($me, $r->{json}{registration_id}, code => $other), 404,
        'not_found', 'nor is a registration a change');

    is(phone_of($me), $me->{phone}, 'the number is what it was');
    is(card_of($me, $card_id)->{revision}, 1, 'and the card');

    verify($me, $id, code => $wrong) for 2 .. 5;
    is_problem(verify($me, $id, code => $code), 429, 'too_many_tries',
        'five wrong codes');

    ($id, $code) = started($me, number());
    $t->psql("update cardx.registrations set expires_at = now()
        where registration_id = '$id'");
    is_problem(verify($me, $id, code => $code), 410, 'registration_expired',
        'too late');

    ($id, $code) = started($me, number());
    verify($me, $id, code => $code, password => 'not this one') for 1 .. 5;
    is_problem(verify($me, $id, code => $code), 429, 'too_many_tries',
        'five wrong passwords');
    is(phone_of($me), $me->{phone}, 'still');
};


subtest 'limits' => sub {
    my $me = person();
    my $new = number();
    is(start($me, $new)->{status}, 202);
    is_problem(start($me, $new), 429, 'rate_limited', 'one a minute');
    is(start($me, number())->{status}, 202, "number $_") for 2 .. 10;
    is_problem(start($me, number()), 429, 'rate_limited',
        'ten an hour for an account');
    is(start(person(), number())->{status}, 202, 'another one may');
};


subtest 'a number that another account has' => sub {
    my ($me, $other) = (person(), person());
    my $mine = card($me, phones => { x => { number => $me->{phone} } });
    my $theirs = card($other, phones => { x => { number => $other->{phone} } });
    $t->forget_limits;

    my $r = start($me, $other->{phone});
    my $free = start($me, number());
    $_->{json}{rebind_id} = $_->{json}{expires_at} = '' for $r, $free;
    is_deeply($r->{json}, $free->{json}, 'the start tells nothing');
    ok($t->sms($other->{phone}), 'nor is its code the one that follows');
    $t->forget_limits;

    my ($id, $code) = started($me, $other->{phone});
    is_problem(verify($me, $id, code => $code), 409, 'account_exists',
        'told to who has proved it');
    is(phone_of($other), $other->{phone}, 'and not done unasked');

    $r = verify($me, $id, code => $code, start_fresh => $true);
    is($r->{json}{phone}, $other->{phone}, 'done when asked');
    is(card_of($me, $mine)->{card}{phones}{x}{number}, $other->{phone});

    $r = $t->get('/v1/me', undef, $other->{token})->{json};
    is($r->{phone}, undef, 'the other account has no number');
    is($r->{notices}[0]{kind}, 'phone_lost', 'and is told');
    is(card_of($other, $theirs)->{revision}, 1, 'its cards are as they were');

    $t->forget_limits;
    my $new = number();
    ($id, $code) = started($other, $new);
    $r = verify($other, $id, code => $code);
    is($r->{json}{phone}, $new, 'it can have another');
    is_deeply($r->{json}{notices}, [], 'and the notice is gone');
};


subtest 'many at once' => sub {
    # each wants what the other has
    for (1 .. 3) {
        my ($a, $b) = (person(), person());
        $t->forget_limits;
        my @a = started($a, $b->{phone});
        my @b = started($b, $a->{phone});
        my @status = $t->at_once(
            sub { verify($a, $a[0], code => $a[1], start_fresh => $true)
                ->{status} },
            sub { verify($b, $b[0], code => $b[1], start_fresh => $true)
                ->{status} });
        is("@status", '200 200', 'each gets it');
        is(phone_of($a), $b->{phone});
        is(phone_of($b), $a->{phone});
    }

    # two want the same; and one twice
    my ($a, $b, $new) = (person(), person(), number());
    my @a = started($a, $new);
    $t->forget_limits;
    my @b = started($b, $new);
    my @status = $t->at_once(
        map({ sub { verify($a, $a[0], code => $a[1])->{status} } } 1 .. 3),
        sub { verify($b, $b[0], code => $b[1])->{status} });
    like(join(' ', sort @status), qr/^200 (?:200 200 409|409 409 409)$/,
        'one of them gets it');
    is($t->psql("select count(*) from cardx.users where phone = '$new'"), 1,
        'one account has it');
};


subtest 'killed in the middle' => sub {
    my $me = person();
    my @cards = map { card($me, phones => { x => { number => $me->{phone} } }) }
        1 .. 20;
    my ($id, $code) = started($me, my $new = number());
    for my $try (1 .. 3) {
        my $pid = fork // die "fork: $!";
        if (!$pid) {
            $t->connect_anew;
            verify($me, $id, code => $code);
            POSIX::_exit(0);
        }
        Time::HiRes::sleep(0.02 + 0.05 * $try);
        $t->kill9("api-slow-$_") for 0, 1;
        waitpid $pid, 0;
        my @shown = map { card_of($me, $_)->{card}{phones}{x}{number} } @cards;
        my $phone = phone_of($me);
        my %seen = map { $_ => 1 } $phone, @shown;
        is(scalar keys %seen, 1, 'account and cards agree') or last;
        last if $phone eq $new;
    }
    $t->wait_for(sub { verify($me, $id, code => $code)->{status} == 200 }, 20);
    is(phone_of($me), $new, 'and in the end it is done');
    is(card_of($me, $_)->{card}{phones}{x}{number}, $new) for @cards;
};


subtest 'Redis away' => sub {
    my $me = person();
    my $card_id = card($me, phones => { x => { number => $me->{phone} } });
    my ($id, $code) = started($me, my $new = number());
    $t->signal('redis', 'STOP');
    my $again = sub { verify($me, $id, code => $code,
        headers => { 'Idempotency-Key' => 'once' }) };
    is_problem($again->(), 503, 'not_yet_in_force',
        'done, but a card may still show the old number');
    is_problem($again->(), 503, 'not_yet_in_force',
        'as it says again, whatever the Idempotency-Key');
    $t->thaw_redis;
    $t->wait_for(sub { $again->()->{status} == 200 }, 20);
    is(card_of($me, $card_id)->{card}{phones}{x}{number}, $new, 'repeated');
    is(card_of($me, $card_id)->{revision}, 2, 'changed once');
};


$t->finish;
done_testing;
