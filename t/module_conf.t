# What the configuration refuses, in words that help, and what error_log
# never shows.

use strict;
use warnings;

use FindBin ();
use lib "$FindBin::Bin/lib";

use CardxTest::Edge ();
use Test::More;

# --- refused configurations ----------------------------------------------------

my $edge = CardxTest::Edge->new(no_start => 1, redis_started => 0);
my $dir = $edge->dir;

sub conf {
    my ($change) = @_;
    $edge->write_conf;
    my $text = CardxTest::Edge::read_file("$dir/nginx.conf");
    local $_ = $text;
    $change->();
    CardxTest::Edge::write_file("$dir/nginx.conf", $_);
    return $edge->test_conf;
}

my ($output, $good) = conf(sub { });
ok($good, 'the configuration of the tests is good') or diag $output;

my %files = (
    'empty.key' => '',
    'short.key' => 'ab' x 31,
    'long.key' => 'ab' x 33,
    'odd.key' => 'xy' x 32,
    'large.key' => ' ' x 5000,
    'no.password' => "\n",
);
CardxTest::Edge::write_file("$dir/$_", $files{$_}) for keys %files;

my @bad = (
    ['missing key file', sub { s/id\.key/none.key/ },
        qr{open\(\) "\Q$dir\E/none\.key" failed}],
    ['empty key file', sub { s/id\.key/empty.key/ }, qr/empty\.key" is empty/],
    ['large key file', sub { s/id\.key/large.key/ }, qr/large\.key" is/],
    ['a folder as key file', sub { s/id\.key/tmp/ }, qr/not a file/],
    ['short key', sub { s/id\.key/short.key/ },
        qr/"short\.key" contains no key of 64 hex digits/],
    ['long key', sub { s/id\.key/long.key/ }, qr/"long\.key" contains no/],
    ['no hex', sub { s/id\.key/odd.key/ }, qr/"odd\.key" contains no/],
    ['no key', sub { s/cardx_id_key.*// }, qr/requires "cardx_id_key"/],
    ['no redis', sub { s/cardx_redis.*// }, qr/requires "cardx_redis"/],
    ['two keys', sub { s/(cardx_id_key.*)/$1 $1/ }, qr/is duplicate/],
    ['two addresses', sub { s/(cardx_redis.*)/$1 $1/ }, qr/is duplicate/],
    ['host unknown', sub { s/unix:\S+redis\.sock/no.such.host.invalid/ },
        qr/host not found in redis address "no\.such\.host\.invalid"/],
    ['bad port', sub { s/unix:\S+redis\.sock/127.0.0.1:0/ },
        qr/invalid port in redis address/],
    ['bad db', sub { s/(redis\.sock)/$1 db=x/ },
        qr/invalid parameter "db=x"/],
    ['bad timeout', sub { s/(redis\.sock)/$1 timeout=0/ },
        qr/invalid parameter "timeout=0"/],
    ['bad connect_timeout', sub { s/(redis\.sock)/$1 connect_timeout=x/ },
        qr/invalid parameter "connect_timeout=x"/],
    ['unknown parameter', sub { s/(redis\.sock)/$1 pool=3/ },
        qr/invalid parameter "pool=3"/],
    ['user alone', sub { s/(redis\.sock)/$1 user=x/ },
        qr/"user" without "password_file"/],
    ['missing password file', sub { s/(redis\.sock)/$1 password_file=x.y/ },
        qr{open\(\) "\Q$dir\E/x\.y" failed}],
    ['no password', sub { s/(redis\.sock)/$1 password_file=no.password/ },
        qr/"no\.password" contains no password/],
    ['fallback without @', sub { s/cardx_fallback \@/cardx_fallback / },
        qr/"worker" is not a named location/],
    ['media without @', sub { s/cardx_media \@/cardx_media / },
        qr/"media" is not a named location/],
    ['a regex location', sub { s{location /c/}{location ~ ^/c/} },
        qr/can be used in prefix locations only/],
    ['two handlers', sub { s/cardx_card on;/cardx_card on; cardx_redirect on;/ },
        qr/conflicts with another handler/],
    ['two flags', sub { s/cardx_card on;/cardx_card on; cardx_card on;/ },
        qr/is duplicate/],
    ['refusals without a rate',
        sub { s/(cardx_id_key.*)/$1 cardx_refusals burst=5;/ },
        qr/requires "rate" and "burst"/],
    ['refusals, bad rate',
        sub { s/(cardx_id_key.*)/$1 cardx_refusals rate=5 burst=5;/ },
        qr/invalid parameter "rate=5"/],
    ['refusals, no rate',
        sub { s/(cardx_id_key.*)/$1 cardx_refusals rate=0r\/s burst=5;/ },
        qr{invalid parameter "rate=0r\/s"}],
    ['refusals, bad burst',
        sub { s/(cardx_id_key.*)/$1 cardx_refusals rate=5r\/s burst=-1;/ },
        qr/invalid parameter "burst=-1"/],
    ['refusals, small zone',
        sub { s/(cardx_id_key.*)/$1 cardx_refusals rate=5r\/s burst=1 size=1k;/ },
        qr/invalid parameter "size=1k"/],
    ['refusals twice',
        sub { s/(cardx_id_key.*)/$1 cardx_refusals rate=5r\/s burst=1; cardx_refusals rate=5r\/s burst=1;/ },
        qr/is duplicate/],
    ['a cache in the zone of refusals',
        sub { s/(cardx_id_key.*)/$1 cardx_refusals rate=5r\/s burst=1; cardx_cache zone=cardx_refusals;/ },
        qr/"cardx_refusals" is already declared for a different use/],
    ['and the other way round',
        sub { s/(cardx_id_key.*)/$1 cardx_cache zone=cardx_refusals:4m; cardx_refusals rate=5r\/s burst=1;/ },
        qr/"cardx_refusals" is already declared for a different use/],
    ['a cache in the zone of the counters',
        sub { s/(cardx_id_key.*)/$1 cardx_cache zone=cardx_metrics;/ },
        qr/"cardx_metrics" is already declared for a different use/],
    ['calls without a network',
        sub { s/(cardx_id_key.*)/$1 cardx_calls user=8;/ },
        qr/requires "user" and "network"/],
    ['calls, none at once',
        sub { s/(cardx_id_key.*)/$1 cardx_calls user=0 network=1;/ },
        qr/invalid parameter "user=0"/],
    ['calls, bad number',
        sub { s/(cardx_id_key.*)/$1 cardx_calls user=8 network=-1;/ },
        qr/invalid parameter "network=-1"/],
    ['calls, bad time',
        sub { s/(cardx_id_key.*)/$1 cardx_calls user=8 network=1 timeout=x;/ },
        qr/invalid parameter "timeout=x"/],
    ['calls, nobody waits',
        sub { s/(cardx_id_key.*)/$1 cardx_calls user=8 network=1 waiting=0;/ },
        qr/invalid parameter "waiting=0"/],
    ['calls, unknown parameter',
        sub { s/(cardx_id_key.*)/$1 cardx_calls user=8 network=1 burst=1;/ },
        qr/invalid parameter "burst=1"/],
    ['calls, long name',
        sub { s/(cardx_id_key.*)/$1 cardx_calls user=8 network=1 pool=abcdefghijabcdefghijabcdefghijabc;/ },
        qr/invalid parameter "pool=abcdefghijabcdefghijabcdefghijabc"/],
    ['calls twice',
        sub { s/(cardx_id_key.*)/$1 cardx_calls off; cardx_calls off;/ },
        qr/is duplicate/],
    ['a heart that beats all the time',
        sub { s/(cardx_id_key.*)/$1 cardx_heartbeat 999ms;/ },
        qr/"cardx_heartbeat" directive must be at least 1s/],
    ['no flag', sub { s/cardx_card on;/cardx_card maybe;/ },
        qr/it must be "on" or "off"/],
);
for (@bad) {
    my ($why, $change, $message) = @$_;
    ($output, $good) = conf($change);
    ok(!$good, "refused: $why");
    like($output, $message, "and says so: $why");
    unlike($output, qr/alert|Sanitizer/, "and nothing worse: $why");
}

my @fine = (
    ['off', sub { s/cardx_card on;/cardx_card off;/ }],
    ['nothing of it used', sub { s/^\s+cardx_\w+ .*;$//mg; s/\$cardx_\w+/x/g;
        s/log_format edge.*;/log_format edge '\$status';/ }],
    ['IPv6', sub { s/unix:\S+redis\.sock/[::1]:6379/ }],
    ['all parameters', sub { s/(redis\.sock)/$1 db=2 user=a password_file=id.key connect_timeout=2s timeout=50ms/ }],
    ['a heart that beats often',
        sub { s/(cardx_id_key.*)/$1 cardx_heartbeat 1s;/ }],
    ['calls', sub { s/(cardx_id_key.*)/$1 cardx_calls pool=x user=1 network=2 waiting=3 timeout=4ms;/ }],
    ['no calls', sub { s/(cardx_id_key.*)/$1 cardx_calls off;/ }],
    ['the key inherited and replaced', sub {
        s{location /t/ \{}{location /t/ \{ cardx_id_key id.key; cardx_redis 127.0.0.1; cardx_fallback \@worker;} }],
);
for (@fine) {
    my ($why, $change) = @$_;
    ($output, $good) = conf($change);
    ok($good, "accepted: $why") or diag $output;
}

# --- what is written into error_log when the worker is away ----------------------

$edge = CardxTest::Edge->new(redis_started => 0, no_start => 1,
    http => 'limit_req_zone $server_name zone=one:1m rate=1r/m;',
    server => <<'END');
        location /limit/ {
            limit_req zone=one;
            cardx_redirect on;
        }

        location @away {
            proxy_pass http://127.0.0.1:1;
        }
END
$edge->write_conf;
my $conf = CardxTest::Edge::read_file($edge->dir . '/nginx.conf');
$conf =~ s/cardx_fallback \@worker/cardx_fallback \@away/;
CardxTest::Edge::write_file($edge->dir . '/nginx.conf', $conf);
$edge->start_nginx;

my $card = $edge->id('c');
my ($key) = $edge->new_key;
is($edge->get("/c/$card?k=$key")->{status}, 502, 'no worker: card');
is($edge->get("/c/$card", { 'Cardx-Key' => $key, Referer =>
    "http://x/c/$card?k=$key" })->{status}, 502, 'no worker: header');
is($edge->get("/q/$key")->{status}, 502, 'no worker: redirect');
is($edge->get("/limit/$key")->{status}, 502, 'not yet limited');
is($edge->get("/limit/$key")->{status}, 503, 'limited');

my $log = $edge->error_log;
my @lines = grep { /connect\(\) failed/ } split /\n/, $log;
is(scalar @lines, 4, 'each failure is logged');
like($lines[0], qr{request: "GET \.\.\.", location: "\@away", upstream: "http://127\.0\.0\.1:1"},
    'with all but the URI');
like($log, qr{limiting requests.*request: "GET \.\.\.", location: "/limit/"},
    'so is what comes before the answer');

# finish() looks for the keys in error_log
$edge->finish;

# --- a private log, and nothing else of the module -------------------------------

$edge = CardxTest::Edge->new(redis_started => 0, no_start => 1);
$edge->write_conf;
$conf = CardxTest::Edge::read_file($edge->dir . '/nginx.conf');
$conf =~ s/^\s+cardx_\w+ .*;$//mg;
$conf =~ s/\$cardx_\w+/x/g;
$conf =~ s/^http \{/http {\n    cardx_private_log on;/m;
CardxTest::Edge::write_file($edge->dir . '/nginx.conf', $conf);
$edge->start_nginx;
($key) = $edge->new_key;
is($edge->get("/none?k=$key")->{status}, 404, 'no such file');
like($edge->error_log, qr/open\(\).*failed.*request: "GET \.\.\."/,
    'a private log needs no other directive');
$edge->finish;

done_testing;
