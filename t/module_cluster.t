#!/usr/bin/perl
# The module on a fake cluster of one node: what a real one never says.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use Test::More;

use CardxTest::Edge;

my $edge = CardxTest::Edge->new(fake => 1,
    fake_port => CardxTest::Edge::free_port(),
    redis_options => 'timeout=2s');
my $fake = $edge->{fake_redis};
my $card = $edge->card(body => '{"@type":"Card"}');
my $path = "/c/$card?k=" . $edge->key($card);

is($edge->get($path)->{status}, 200, 'a cluster of one node');

# each mode: how often the command is said at most
my %most = (moved => 1, named => 1, loop => 4, asking => 4, error => 1,
    loading => 1);

for my $mode (sort keys %most) {
    my $asked = grep { /^HMGET/ } $fake->asked;
    $fake->mode($mode);
    is($edge->get($path)->{status}, 299, "$mode: it falls back");
    my $more = (grep { /^HMGET/ } $fake->asked) - $asked;
    is($more, $most{$mode}, "$mode: it is said so often and no more");

    is($edge->request('GET', '/metrics')->{status}, 200, 'nothing broke');
    $fake->mode('good');
    ok(CardxTest::Edge::await(sub { $edge->get($path)->{status} == 200 }),
        "$mode: and Redis is asked again");
}

# asked with ASKING each time
my $asking = grep { /^ASKING/ } $fake->asked;
is($asking, 3, 'ASKING goes before');

# replies that end the link
for my $mode (qw(split half garbage unasked nested long close)) {
    $fake->mode($mode);
    my $status = $edge->get($path)->{status};
    ok($status == 299 || $mode =~ /^(?:split|unasked)$/ && $status == 200,
        "$mode: $status");
    $fake->mode('good');
    ok(CardxTest::Edge::await(sub { $edge->get($path)->{status} == 200 }),
        "$mode: and Redis is asked again");
}

# what is told, and not asked, goes no further either
my $key = $edge->key($card);
is($edge->get("/q/$key")->{status}, 302, 'a redirect');
$fake->mode('loop');
my $told = grep { /^EVAL/ } $fake->asked;
ok(CardxTest::Edge::await(sub { (grep { /^EVAL/ } $fake->asked) > $told + 4 }),
    'its scan is told again and again');
is($edge->get("/q/$key")->{status}, 299, 'none');
$fake->mode('good');

# configurations that can not be
for my $case (
    [ '127.0.0.1:1 127.0.0.1:2', qr/several addresses without "cluster"/ ],
    [ '127.0.0.1:1 cluster db=1', qr/"db" with "cluster"/ ],
    [ 'unix:/tmp/x cluster', qr/unix socket with "cluster"/ ],
    [ '127.0.0.1:1 cluster 127.0.0.1:2', qr/invalid parameter/ ],
) {
    $edge->{redis_address} = $case->[0];
    $edge->{redis_options} = '';
    $edge->write_conf;
    my ($output, $good) = $edge->test_conf;
    ok(!$good, "$case->[0]: refused");
    like($output, $case->[1], 'and it is said why');
}

$edge->finish;
done_testing;
