#!/usr/bin/perl
# kill -9 of any process, at any moment of the tour, loses nothing that was
# answered.

use strict;
use warnings;

use Test::More;

use FindBin;
use lib "$FindBin::Bin/lib";
use CardxTest;
use Time::HiRes qw(sleep);

my $t = CardxTest->new(fsync => 1)->start;
my @workers = qw(api-fast-0 api-fast-1 api-slow-0 api-slow-1 api-miss-0
    api-miss-1 fanout deliver-0 media picture);

# A call as a client makes it that does not give up: repeated, with the same
# Idempotency-Key, while there is no answer or a 5xx.
my $calls = 0;
sub insist {
    my ($method, $path, $body, $headers) = @_;
    my %headers = (%{ $headers || {} }, 'Idempotency-Key' => "call-$$-"
        . ++$calls);
    my $r;
    for (1 .. 100) {
        $r = $t->request($method, $path, $body, \%headers);
        return $r if $r->{status} < 500 && $r->{status} != 409;
        sleep 0.1;
    }
    return $r;
}

my $anna = $t->register('+8613800000001');
my $token = { token => $anna->{access_token} };
my $person = 0;

# The tour, answer by answer; what is given back has been promised.
sub tour {
    my $n = ++$person;
    my %got;

    my $r = insist('POST', '/v1/cards', { '@type' => 'Card',
        version => '1.0', name => { full => "Person $n" } }, $token);
    is($r->{status}, 201, "tour $n: a card") or diag($r->{body});
    $got{card_id} = $r->{json}{card_id};

    $r = insist('PATCH', "/v1/cards/$got{card_id}",
        { titles => { t => { name => "Title $n" } } }, $token);
    is($r->{status}, 200, "tour $n: changed") or diag($r->{body});

    $r = insist('POST', "/v1/cards/$got{card_id}/keys", { ttl => 3600 },
        $token);
    is($r->{status}, 201, "tour $n: a key") or diag($r->{body});
    $got{key} = $r->{json}{key};

    $r = insist('POST', "/v1/cards/$got{card_id}/keys", { ttl => 3600 },
        $token);
    is($r->{status}, 201, "tour $n: a key to revoke") or diag($r->{body});
    $got{revoked} = $r->{json}{key};

    $r = insist('DELETE',
        "/v1/cards/$got{card_id}/keys/$r->{json}{key_id}", undef, $token);
    is($r->{status}, 204, "tour $n: revoked") or diag($r->{body});
    return \%got;
}

sub holds {
    my ($got, $n, $when) = @_;
    my $r = insist('GET', "/c/$got->{card_id}", undef,
        { key => $got->{key} });
    is($r->{status}, 200, "$when: the key opens the card");
    is($r->{json}{titles}{t}{name}, "Title $n", "$when: with its change");
    $r = insist('GET', "/c/$got->{card_id}", undef,
        { key => $got->{revoked} });
    is($r->{status}, 404, "$when: the revoked key does not");
}

# A process that kills the others while the tour goes on.
sub while_killing {
    my ($code, @victims) = @_;
    my $killer = fork // die "fork: $!";
    if (!$killer) {
        for my $round (1 .. 3) {
            for my $name (@victims) {
                $t->strike($name, 'KILL');
                select undef, undef, undef, 0.03 + rand 0.1;
            }
        }
        require POSIX;
        POSIX::_exit(0);
    }
    my @result = $code->();
    waitpid $killer, 0;
    return @result;
}

$t->expect_log(qr/exited on signal 9|terminated by signal 9|SIGKILL/);

my @all;
while_killing(sub { push @all, tour() for 1 .. 3 }, @workers);
$t->wait_for(sub { $t->ops('GET', '/healthz')->{status} == 200 }, 30);
holds($all[$_], $_ + 1, "after the workers were killed, $_") for 0 .. $#all;

# The database itself, at any moment.
$t->expect_log(qr/the database system|server closed the connection/);
while_killing(sub {
    sleep 0.05;
    $t->kill9('postgres');
    $t->start;
    push @all, tour();
}, 'api-fast-0');
$t->wait_for(sub { $t->ops('GET', '/healthz')->{status} == 200 }, 30);
holds($all[$_], $_ + 1, "after PostgreSQL was killed, $_") for 0 .. $#all;

# Redis, and with it the whole projection.
$t->kill9('redis');
holds($all[0], 1, 'while Redis is away');
$t->start;
push @all, tour();
holds($all[$_], $_ + 1, "after Redis was killed, $_") for 0 .. $#all;

# nginx and the supervisor.
for my $name (qw(nginx cardxd)) {
    $t->kill9($name);
    $t->start;
    push @all, tour();
    holds($all[$_], $_ + 1, "after $name was killed, $_") for 0 .. $#all;
}

ok($t->outbox_empty(30), 'no outbox row is stuck');
is($t->psql('select count(*) from cardx.cards'), scalar @all,
    'no card was made twice');
is($t->psql('select count(*) from cardx.card_keys'), 2 * @all,
    'no key was drawn twice');

$t->finish;
done_testing;
