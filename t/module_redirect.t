# /q at the edge: where a scanned code leads, and that scans are counted.

use strict;
use warnings;

use FindBin ();
use lib "$FindBin::Bin/lib";

use CardxTest::Edge ();
use Test::More;

my $edge = CardxTest::Edge->new(server => <<'END');
        location = /page.html {
            ssi on;
        }
END
my $card = $edge->card(body => '{}');
my $key = $edge->key($card);
my $name = $edge->hash_name($key);

sub scans {
    return $edge->redis('HGET', 'cardx:scans:{' . substr($name, 0, 1) . '}',
        $name) // 0;
}

for my $path ("/q/$key", "/Q/$key", '/q/' . lc $key) {
    my $r = $edge->get($path);
    is($r->{status}, 302, 'redirect');
    is($r->{headers}{location}, "/c/$card?k=$key", 'Location');
    is($r->{headers}{'cache-control'}, 'no-store', 'Cache-Control');
    is($r->{headers}{'referrer-policy'}, 'no-referrer', 'Referrer-Policy');
    is($r->{body}, '', 'no body');
}

ok(CardxTest::Edge::await(sub { scans() == 3 }), 'scans are counted');

my $r = $edge->head("/q/$key");
is($r->{status}, 302, 'HEAD');
is($r->{headers}{location}, "/c/$card?k=$key", 'HEAD: Location');
$edge->get("/q/$key");
ok(CardxTest::Edge::await(sub { scans() == 4 }), 'GET is counted, HEAD is not');

my $location = $edge->get("/q/$key")->{headers}{location};
is($edge->get($location)->{status}, 200, 'it leads to the card');

# --- refused -------------------------------------------------------------------

my $now = time;
my ($unknown) = $edge->new_key;
my $expired = $edge->key($card, expires => $now);
my $revoked = $edge->key($card);
$edge->redis('SET', 'cardx:q:' . $edge->hash_name($revoked), 'x');
my $rubbish = $edge->key($card);
$edge->redis('SET', 'cardx:q:' . $edge->hash_name($rubbish), 'x y');

my $shape = $edge->get('/c/x');
my %refused = (
    'no key' => '/q/',
    'short' => '/q/ABC',
    'alphabet' => '/q/' . '1' x 26,
    'bits' => '/q/' . 'B' x 26,
    'something after' => "/q/$key/",
    'expired' => "/q/$expired",
    'revoked' => "/q/$revoked",
);
for my $why (sort keys %refused) {
    $r = $edge->get($refused{$why});
    is($r->{status}, 404, "404: $why");
    is("$r->{shape}$r->{body}", "$shape->{shape}$shape->{body}",
        "the same answer as of a card: $why");
}

is($edge->get("/q/$unknown")->{status}, 299, 'unknown falls back');
is($edge->get("/q/$rubbish")->{status}, 299, 'unreadable falls back');
ok(CardxTest::Edge::await(sub { scans() == 5 }), 'none of these was counted');

is($edge->metric('cardx_edge_requests_total{path="redirect",status="hit"}'),
    6, 'hits');
is($edge->metric('cardx_edge_fallbacks_total{path="redirect"}'), 2,
    'fallbacks');

# --- within a page ---------------------------------------------------------------

mkdir "$edge->{dir}/html" or die "mkdir: $!";
CardxTest::Edge::write_file("$edge->{dir}/html/page.html",
    "before<!--# include virtual=\"/q/$key\" -->after");
is($edge->get('/page.html')->{body}, 'beforeafter', 'a part of a page is empty');

$edge->finish;
done_testing;
