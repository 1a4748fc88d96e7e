#!/usr/bin/perl
# D1: a number is proved by a message from the phone; and the gateway reports
# what became of messages to it.  With a real Kannel, both ways.

use strict;
use warnings;
use utf8;

use FindBin;
use lib "$FindBin::Bin/lib";

use Test::More;

use CardxTest qw(is_problem);
use CardxTest::Kannel;

my $port = CardxTest::free_port();
my $password = "/tmp/cx.kannel.$$";
open my $out, '>', $password or die "$password: $!";
print $out "cardxpw\n";
close $out;
chmod 0640, $password;
chown 0, scalar getgrnam('www-data'), $password if $> == 0;
END { unlink $password if $password }

my $PER_ADDRESS = 1000;
my $t = CardxTest->new(settings => {
    default_region => 'DE',
    workers_deliver => 1,
    sms_per_address => $PER_ADDRESS,
    sms_gateway => 'kannel',
    sms_kannel_url => "http://127.0.0.1:$port/cgi-bin/sendsms",
    sms_kannel_user => 'cardx',
    sms_kannel_password_file => $password,
    sms_from => '13013',
});
$t->{settings}{sms_report_url} = "http://127.0.0.1:$t->{ops_port}/sms/report";
$t->start;

my $secret = $t->{sms_secret};
my $next = 1700000000;

sub number { '+49' . ++$next }

sub start {
    my ($phone) = @_;
    my $r = $t->post('/v1/registrations',
        { phone => $phone, method => 'sms-up' });
    is($r->{status}, 202, 'started') or diag($r->{body});
    return $r->{json};
}

sub start_later {
    my ($phone) = @_;
    $t->forget_limits;
    return start($phone);
}

sub verify {
    my ($registration, %more) = @_;
    return $t->post("/v1/registrations/$registration->{registration_id}/verify",
        { terminal => { name => 'phone' }, %more });
}

sub gateway {
    my ($path, %arguments) = @_;
    %arguments = (secret => $secret, %arguments);
    my $query = join '&', map {
        my $value = $arguments{$_};
        utf8::encode($value) if utf8::is_utf8($value);
        $value =~ s/([^A-Za-z0-9._~+-])/sprintf '%%%02X', ord $1/ge;
        "$_=$value";
    } grep { defined $arguments{$_} } sort keys %arguments;
    return $t->ops('GET', "$path?$query");
}

sub message {
    my ($from, $text, %more) = @_;
    return gateway('/sms/in', from => $from, to => '13013', text => $text,
        %more);
}

# The same message, and whether it was what was waited for.
sub arrives {
    my ($registration, $from, $text, %more) = @_;
    my $r = message($from, $text, %more);
    is("$r->{status} $r->{body}", '200 ', 'answered with nothing')
        or diag($r->{body});
    my $proved = $t->psql("select proved_at is not null
        from cardx.registrations where registration_id =
        '$registration->{registration_id}'");
    return $proved eq 't';
}


subtest 'a new account' => sub {
    my $phone = number();
    my $registration = start($phone);
    is_deeply([ sort keys %$registration ],
        [qw(expires_at method registration_id send_to text)]);
    is($registration->{method}, 'sms-up');
    is($registration->{send_to}, '13013');
    like($registration->{text}, qr/^cardx [a-z2-9]{10}$/);
    is($t->psql("select count(*) from cardx.registrations where position(
        convert_to('$registration->{text}', 'UTF8') in code_hmac) > 0"), 0,
        'the text is not stored');
    is($t->psql('select count(*) from cardx.sms'), 0, 'nothing is sent');

    is_problem(verify($registration), 409, 'not_yet', 'not yet');
    is_problem(verify($registration, code => '123456'), 422, 'invalid_code',
        'there is no code');
    is_problem(verify($registration, start_fresh => JSON::PP::true()), 409,
        'not_yet', 'nor is there another way');

    ok(arrives($registration, $phone, $registration->{text}), 'proved');
    my $r = verify($registration);
    is($r->{status}, 200) or diag($r->{body});
    ok($r->{json}{new_account}, 'an account');
    ok($r->{json}{initial_password}, 'with its password');
    is($t->get('/v1/me', undef, { token => $r->{json}{access_token} })
        ->{json}{phone}, $phone, 'of this number');
    is_problem(verify($registration), 409, 'registration_finished', 'once');

    my $again = start_later($phone);
    is_problem(verify($again), 409, 'not_yet', 'known or not: the same');
    ok(arrives($again, $phone, $again->{text}), 'proved');
    is_problem(verify($again), 409, 'account_exists', 'only then it is told');
    is(verify($again, password => $r->{json}{initial_password})->{status}, 200,
        'and the password opens it');
};


subtest 'a sender as gateways write it' => sub {
    for my $form (sub { $_[0] }, sub { $_[0] =~ s/^\+//r },
        sub { $_[0] =~ s/^\+/00/r }, sub { $_[0] =~ s/^\+/ /r },
        sub { $_[0] =~ s/^\+49/0/r }, sub { $_[0] =~ s/^\+49/+49 (0)/r },
        sub { $_[0] =~ s/^\+49(...)/+49 $1-/r }) {
        my $registration = start(my $phone = number());
        my $from = $form->($phone);
        ok(arrives($registration, $from, $registration->{text}), "'$from'");
    }

    # what another country's number looks like without its plus sign
    my $registration = start('+4913800138000');
    ok(!arrives($registration, '13800138000', $registration->{text}),
        'a number is read in one way alone');
};


subtest 'a text as phones and gateways leave it' => sub {
    for my $form (sub { uc $_[0] }, sub { " $_[0]\n" }, sub { "\"$_[0]\"." },
        sub { $_[0] =~ s/ /  /r }, sub { ucfirst $_[0] }) {
        my $registration = start(my $phone = number());
        my $text = $form->($registration->{text});
        ok(arrives($registration, $phone, $text), "'$text'");
    }
};


subtest 'what proves nothing' => sub {
    my $registration = start(my $phone = number());
    my $text = $registration->{text};
    my $other = start(number());

    ok(!arrives($registration, number(), $text), 'another number');
    ok(!arrives($registration, $phone, $other->{text}), 'another text');
    ok(!arrives($registration, $phone, substr $text, 6), 'half of it');
    ok(!arrives($registration, $phone, "$text x"), 'more than it');
    ok(!arrives($registration, $phone, "hello \x{4f60}\x{597d}"), 'a chat');
    ok(!arrives($registration, 'cardx', $text), 'a name as sender');
    ok(!arrives($registration, '1', $text), 'too short a sender');
    ok(!arrives($registration, $phone, $text, to => '99999'),
        'sent to somebody else');

    is_problem(message($phone, $text, secret => $_), 403, 'wrong_secret',
        'a wrong secret') for undef, '', 'x', "${secret}0", substr $secret, 1;
    for my $name (qw(from to text)) {
        is_problem(message($phone, $text, $name => $_), 422, "invalid_$name",
            "bad $name") for undef, '', 'x' x 1601;
    }
    is($t->request('GET', '/sms/in?from=1&to=1&text=1&secret=1')->{status},
        404, 'nobody else reaches it');
    is_problem(verify($registration), 409, 'not_yet', 'so it is not proved');

    $t->psql("update cardx.registrations set expires_at = now()
        where registration_id = '$registration->{registration_id}'");
    ok(!arrives($registration, $phone, $text), 'too late');
    is_problem(verify($registration), 410, 'registration_expired', 'expired');

    my $used = start(my $number = number());
    ok(arrives($used, $number, $used->{text}), 'proved');
    my $before = $t->psql('select expires_at, proved_at from
        cardx.registrations where proved_at is not null
        order by proved_at desc limit 1');
    ok(arrives($used, $number, $used->{text}), 'the same once more');
    is($t->psql('select expires_at, proved_at from cardx.registrations
        where proved_at is not null order by proved_at desc limit 1'), $before,
        'changes nothing');
    is(verify($used)->{status}, 200, 'used');
    ok(arrives(start_later($number), $number, $used->{text}) == 0,
        'and proves nothing ever after');
};


subtest 'limits' => sub {
    my $phone = number();
    my $wait = sub { $t->post('/v1/registrations', { phone => $phone,
        method => $_[0] }) };
    start($phone) for 1 .. 6;
    is($wait->('sms-down')->{status}, 202,
        'who waits for messages leaves the codes of a number to others');
    is_problem($wait->('sms-down'), 429, 'rate_limited', 'one a minute');
    my $registration = start($phone);
    ok(arrives($registration, $phone, $registration->{text}),
        'who has used up the codes leaves the messages');
    $t->psql("insert into cardx.registrations (registration_id, phone, method,
            code_hmac, address, expires_at)
        select 'x' || n, '', 'sms-up', convert_to('x' || n, 'UTF8'), address,
            now()
        from (select distinct address from cardx.registrations) a,
            generate_series(1, $PER_ADDRESS) n");
    is_problem($wait->('sms-up'), 429, 'rate_limited', 'an address may not');
    $t->psql("delete from cardx.registrations where phone = ''");
};


subtest 'reports' => sub {
    my $sms = sub {
        my ($state) = @_;
        my $phone = number();
        $t->post('/v1/registrations',
            { phone => $phone, method => 'sms-down' });
        my $id = $t->psql("select sms_id from cardx.sms
            where recipient = '$phone'");
        $t->psql("delete from cardx.outbox where effect = 'sms' and object =
            '$id'; update cardx.sms set state = '$state' where sms_id = '$id'");
        return $id;
    };
    my $becomes = sub {
        my ($from, $type, $to) = @_;
        my $id = $sms->($from);
        for my $n (1, 2) {
            my $r = gateway('/sms/report', id => $id, type => $type);
            is("$r->{status} $r->{body}", '200 ', "type $type");
            is($t->psql("select state from cardx.sms where sms_id = '$id'"),
                $to, "$from becomes $to");
        }
        return $id;
    };

    $t->signal('deliver-0', 'STOP');
    $becomes->(@$_) for ['sent', 1, 'delivered'], ['sent', 2, 'failed'],
        ['sent', 16, 'failed'], ['sent', 4, 'sent'], ['sent', 8, 'sent'],
        ['sending', 8, 'sent'], ['sending', 1, 'delivered'],
        ['doubtful', 8, 'sent'], ['doubtful', 1, 'delivered'],
        ['doubtful', 2, 'failed'], ['delivered', 2, 'delivered'],
        ['delivered', 8, 'delivered'], ['failed', 8, 'failed'],
        ['failed', 1, 'delivered'], ['queued', 1, 'queued'];
    my $id = $becomes->('sending', 1, 'delivered');
    is($t->psql("select sealed_text is null from cardx.sms
        where sms_id = '$id'"), 't', 'its text is gone');
    $t->signal('deliver-0', 'CONT');

    is_problem(gateway('/sms/report', id => $id, type => $_), 422,
        'invalid_type', 'a bad type') for undef, '', 'x', '3', '-1', '11';
    is_problem(gateway('/sms/report', id => $_, type => 1), 404, 'not_found',
        'no such message') for 'x', 'a' x 28;
    is_problem(gateway('/sms/report', id => $id, type => 1, secret => 'x'),
        403, 'wrong_secret', 'a wrong secret');
    $t->psql("delete from cardx.sms where sms_id = '$id'");
    is_problem(gateway('/sms/report', id => $id, type => 1), 404, 'not_found',
        'one that is swept');
};


SKIP: {
    my $kannel = CardxTest::Kannel->new(port => $port);
    skip 'no Kannel here', 1 unless $kannel;

    subtest 'a real Kannel' => sub {
        $kannel->start($t, in => "http://127.0.0.1:$t->{ops_port}/sms/in"
            . "?from=%p&to=%P&text=%a&secret=$secret");

        # up
        my $registration = start(my $phone = number());
        $kannel->send(substr($phone, 1)
            . " 13013 text $registration->{text}");
        $t->wait_for(sub { verify($registration)->{status} == 200 }, 20);
        is_problem(verify($registration), 409, 'registration_finished',
            'a message through Kannel proves a number');
        my $quiet = quotemeta substr $phone, 1;
        unlike($kannel->received, qr/13013 $quiet text/, 'no answer is sent');

        # down
        $phone = number();
        is($t->post('/v1/registrations', { phone => $phone,
            method => 'sms-down' })->{status}, 202, 'a code is asked for');
        my $state = sub { $t->psql("select state from cardx.sms
            where recipient = '$phone'") };
        $t->wait_for(sub { $state->() eq 'delivered' }, 20);
        is($state->(), 'delivered', 'and Kannel reports that it arrived');
        like($kannel->received, qr/\Q@{[ substr $phone, 1 ]}\E/, 'it did');
        $kannel->stop;
    };
}


my $logs = join '', map { $t->read_log($_) } map { s{.*/}{}r }
    glob "$t->{var}/log/*.log";
unlike($logs, qr/4917|cardx [a-z2-9]{10}/, 'neither number nor text is logged');
unlike($logs, qr/\Q$secret/, 'nor the secret');

$t->finish;
done_testing;
