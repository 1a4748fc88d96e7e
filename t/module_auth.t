# cardx_auth: who passes, as whom, and who does not (A8).

use strict;
use warnings;

use FindBin ();
use lib "$FindBin::Bin/lib";

use CardxTest::Edge ();
use Test::More;

my $edge = CardxTest::Edge->new(no_start => 1, server => <<'END');
        location /any/ {
            satisfy any;
            allow 127.0.0.1;
            deny all;
            cardx_auth on;
            proxy_pass http://127.0.0.1:%%PORT%%/echo/;
        }

        location /none/ {
            satisfy any;
            deny all;
            cardx_auth on;
            proxy_pass http://127.0.0.1:%%PORT%%/echo/;
        }

        location /again/ {
            cardx_auth on;
            error_page 404 = @again;
            root /nonexistent;
        }

        location @again {
            cardx_auth on;
            rewrite ^ /echo/again break;
            proxy_pass http://127.0.0.1:%%PORT%%;
            proxy_set_header User $cardx_user_id;
        }

        location /page/ {
            cardx_auth on;
            add_after_body /part;
            addition_types *;
            proxy_pass http://127.0.0.1:%%PORT%%/echo/;
        }

        location = /part {
            cardx_auth on;
            proxy_pass http://127.0.0.1:%%PORT%%/user/;
            proxy_set_header User $cardx_user_id;
        }

        location /user/ {
            return 200 "user=$http_user";
        }

        location /upload {
            cardx_auth on;
            client_max_body_size 10m;
            client_body_buffer_size 16k;
            proxy_pass http://127.0.0.1:%%PORT%%/body;
        }

        location /body {
            client_max_body_size 10m;
            return 200;
        }
END
$edge->{server} =~ s/%%PORT%%/$edge->{port}/g;
$edge->write_conf;
$edge->start_nginx;

sub call {
    my ($token, $path, %headers) = @_;
    return $edge->get($path || '/v1/me',
        { Authorization => "Bearer $token", %headers });
}

# --- verified ------------------------------------------------------------------

my $t = $edge->token;
my $r = call($t->{token});
is($r->{status}, 200, 'a good token');
is($r->{headers}{'cardx-user'}, $t->{user_id}, '$cardx_user_id');
is($r->{headers}{'cardx-terminal'}, $t->{terminal}, '$cardx_terminal_id');

my $nine = $edge->token(terminal => 7);
is(call($nine->{token})->{headers}{'cardx-terminal'}, 7, 'a small terminal id');

for my $scheme ('bearer', 'BEARER', 'Bearer ') {
    is($edge->get('/v1/me', { Authorization => "$scheme $t->{token}" })
        ->{status}, 200, "scheme $scheme");
}

is($edge->request('POST', '/v1/cards', { Authorization =>
    "Bearer $t->{token}" }, 'x' x 5000)->{status}, 200, 'POST with a body');
is($edge->request('POST', '/upload', { Authorization =>
    "Bearer $t->{token}" }, 'x' x 3_000_000)->{status}, 200, 'a large body');

$r = $edge->get('/v1/me', { Authorization => "Bearer $t->{token}",
    User => 'mallory', Terminal => '1' });
is($r->{headers}{'cardx-user'}, $t->{user_id}, 'headers of the client');

# --- refused -------------------------------------------------------------------

my $now = time;
my $signed_out = $edge->token;
$edge->redis('SET', "cardx:terminal:{$signed_out->{user_id}}:123456789", 'x');
my $revoked = $edge->token;
$edge->redis('SET', "cardx:token:{$revoked->{user_id}}:$revoked->{name}", 'x');
my $forged = $t->{token};
substr $forged, 40, 1, substr($forged, 40, 1) eq 'A' ? 'B' : 'A';

my %refused = (
    'no header' => {},
    'empty' => { Authorization => '' },
    'Basic' => { Authorization => "Basic $t->{token}" },
    'no scheme' => { Authorization => $t->{token} },
    'no token' => { Authorization => 'Bearer ' },
    'only a scheme' => { Authorization => 'Bearer' },
    'short' => { Authorization => 'Bearer abc' },
    'long' => { Authorization => "Bearer $t->{token}A" },
    'two' => { Authorization => "Bearer $t->{token} $t->{token}" },
    'alphabet' => { Authorization => 'Bearer ' . '*' x 76 },
    'wrong tag' => { Authorization => "Bearer $forged" },
    'a refresh token' => { Authorization => 'Bearer '
        . $edge->token(kind => 'R')->{token} },
    'expired' => { Authorization => 'Bearer '
        . $edge->token(expires => $now)->{token} },
    'signed out' => { Authorization => "Bearer $signed_out->{token}" },
);
my $shape;
for my $why (sort keys %refused) {
    $r = $edge->get('/v1/me', $refused{$why});
    is($r->{status}, 401, "401: $why");
    $shape ||= "$r->{shape}\n$r->{body}";
    is("$r->{shape}\n$r->{body}", $shape, "the same answer: $why");
}
like($shape, qr/^WWW-Authenticate: Bearer$/m, 'WWW-Authenticate');
like($shape, qr{^Content-Type: application/problem\+json$}m, 'type');
like($shape, qr/"code":"unauthorized"/, 'code');

is($edge->request('POST', '/v1/cards', {}, 'x' x 5000)->{status}, 401,
    'POST with a body');
is($edge->head('/v1/me')->{status}, 401, 'HEAD');

my $socket = $edge->connect;
print $socket
    CardxTest::Edge::request_text('POST', '/v1/cards', {}, 'x' x 3000),
    CardxTest::Edge::request_text('GET', '/v1/me',
        { Authorization => "Bearer $t->{token}" });
my @status = map { CardxTest::Edge::read_response($socket, 'GET')->{status} }
    1, 2;
is("@status", '401 200', 'a refused body is skipped, the connection kept');

# --- unknown: a worker decides ---------------------------------------------------

my $unknown = $edge->token(store => 0);
my $doubt = $edge->token;
$edge->redis('SET', "cardx:terminal:{$doubt->{user_id}}:123456789", '?');
my $odd = $edge->token;
$edge->redis('SET', "cardx:terminal:{$odd->{user_id}}:123456789", '');
my $wrong = $edge->token;
$edge->redis('DEL', "cardx:token:{$wrong->{user_id}}:$wrong->{name}");
$edge->redis('HSET', "cardx:token:{$wrong->{user_id}}:$wrong->{name}", 1, 2);

for (['not in Redis', $unknown], ['terminal in doubt', $doubt],
    ['empty mark', $odd], ['unreadable token', $revoked],
    ['wrong type', $wrong]) {
    my ($why, $token) = @$_;
    $r = call($token->{token});
    is($r->{status}, 200, "passes: $why");
    is($r->{headers}{'cardx-user'}, undef, "as nobody: $why");
    is($r->{headers}{'cardx-terminal'}, undef, "from nowhere: $why");
}

# --- beside other access rules, subrequests, internal redirects -------------------

is($edge->get('/any/')->{status}, 200, 'satisfy any: by address');
is($edge->get('/none/')->{status}, 401, 'satisfy any: neither');
is(call($t->{token}, '/none/')->{status}, 200, 'satisfy any: by token');

my $asked = $edge->metric('cardx_edge_redis_commands_total');
$r = call($t->{token}, '/again/x');
is($r->{status}, 200, 'an internal redirect to another location with it');
is($r->{headers}{'cardx-user'}, $t->{user_id}, 'knows the user');
is($edge->metric('cardx_edge_redis_commands_total'), $asked + 1,
    'without asking again');

SKIP: {
    my $nginx = $ENV{CARDX_NGINX} || '/usr/sbin/nginx';
    skip 'no addition module', 1 if `$nginx -V 2>&1` !~ /addition_module/;
    is(call($t->{token}, '/page/')->{body},
        "echo /echo/user=$t->{user_id}", 'a subrequest knows the user');
}

# --- many at once on one connection to Redis ---------------------------------------

my @tokens = map { $edge->token } 1 .. 50;
my @sockets = map { $edge->connect } @tokens;
for (0 .. $#tokens) {
    print { $sockets[$_] } CardxTest::Edge::request_text('GET', '/v1/me',
        { Authorization => "Bearer $tokens[$_]{token}" });
}
my $right = grep {
    my $answer = CardxTest::Edge::read_response($sockets[$_], 'GET');
    $answer->{headers}{'cardx-user'} eq $tokens[$_]{user_id};
} 0 .. $#tokens;
is($right, scalar @tokens, 'everybody is who they are');

$edge->finish;
done_testing;
