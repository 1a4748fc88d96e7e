# DELETE /v1/me (F8): the account is erased; the test looks for the person
# everywhere.

use strict;
use utf8;
use warnings;

use FindBin ();
use lib "$FindBin::Bin/lib";

use CardxTest ();
use CardxTest::Media ();
use Test::More;

# nginx forgets soon, not after ten minutes
my $t = CardxTest->new(nginx_conf => [ [ qr/inactive=10m/, 'inactive=5s' ] ])
    ->start;
my $phone = '+8613800138000';
my $anna = $t->register($phone);
my $bob = $t->register('+8613800138001');
my %anna = (token => $anna->{access_token});
my %bob = (token => $bob->{access_token});
my $second = $t->sign_in($phone, $anna->{initial_password}, 'Annas tablet');

my @cards = map { $t->card(\%anna, name => { full => "Anna Zebrastreif $_" },
    emails => { e => { address => "anna$_\@zebra.example" } },
    phones => { p => { number => $phone } }) } 1, 2;
$t->patch('/v1/me', { nickname => 'Zebranna' }, \%anna);
is($t->put("/v1/cards/$cards[0]/media/photo", CardxTest::Media::jpeg(),
    { %anna, 'Content-Type' => 'image/jpeg' })->{status}, 201, 'a photo');
my $drawn = $t->post("/v1/cards/$cards[0]/keys", { ttl => 600 }, \%anna)->{json};
my %key = (key => $drawn->{key});
my $at = "/c/$cards[0]";
is($t->get($at, undef, \%key)->{status}, 200, 'the card opens');
is($t->get("$at/photo", undef, \%key)->{status}, 200, 'so does the photo');
sub cached { grep { -f } glob $t->var . '/cache/*/*/*' }
is(scalar(cached()), 1, 'which nginx keeps');
is($t->get($drawn->{thumbnail})->{status}, 200, 'and the thumbnail');

# bob has the card in his book, and has seen it change
my $held = $t->post('/v1/contacts', { card_id => $cards[0], key =>
    $drawn->{key}, note => 'knows optics' }, \%bob)->{json};
my $entry = "/v1/contacts/$held->{contact_id}";
$t->patch("/v1/cards/$cards[0]", { titles => { t => { name => 'Zebra' } } },
    \%anna);
is($t->get($entry, undef, \%bob)->{json}{card}{titles}{t}{name}, 'Zebra',
    'the other one holds it');
like($t->get("$entry/history", undef, \%bob)->{body}, qr/Zebra/,
    'and knows how it was');

# she has a book, too
my $own = $t->post('/v1/contacts', { own => { '@type' => 'Card',
    version => '1.0', name => { full => 'Zebrabob' }, phones => { p => {
    number => '+8613800138001' } } }, note => 'Zebranote', tags => ['Zebratag']
    }, \%anna)->{json}{contact_id};
$t->put("/v1/contacts/$own/media/photo", CardxTest::Media::png(8, 8),
    { %anna, 'Content-Type' => 'image/png' });
$t->post('/v1/contacts', { own => { '@type' => 'Card', version => '1.0',
    name => { full => 'A' }, phones => { p => { number => $phone } } } },
    \%bob);
$t->card(\%bob, name => { full => 'Bob first' });
ok($t->wait_for(sub { $t->get("/v1/contacts/$own", undef, \%anna)
    ->{json}{live} }, 20), 'they know each other');

# --- what does not erase ------------------------------------------------------

is($t->request('DELETE', '/v1/me', {}, \%anna)->{status}, 422, 'no password');
my $r = $t->request('DELETE', '/v1/me', { password => 'wrong' }, \%anna);
is($r->{status}, 403, 'a wrong one');
is($r->{json}{code}, 'wrong_password', 'and why');
is($t->request('DELETE', '/v1/me', { password => $bob->{initial_password} },
    \%anna)->{status}, 403, "another's");
is($t->get('/v1/me', undef, \%anna)->{status}, 200, 'she is still there');

# what counts against a number of somebody else's outlives her
my %to_other = (phone => '+8613800138099', method => 'sms-down');
is($t->post('/v1/me/phone', \%to_other, \%anna)->{status}, 202,
    'she tries the number of somebody');

# --- erased -------------------------------------------------------------------

# whoever holds it sees it go at once
$r = $t->request('DELETE', '/v1/me', { password => $anna->{initial_password} },
    \%anna);
is($r->{status}, 204, 'erased');
is($t->get('/v1/me', undef, \%anna)->{status}, 401, 'the terminal is out');
is($t->get('/v1/me', undef, { token => $second->{access_token} })->{status},
    401, 'the other too');
is($t->post('/v1/sessions/refresh', { refresh_token =>
    $anna->{refresh_token} })->{status}, 401, 'for good');
is($t->get($at, undef, \%key)->{status}, 404, 'the card is gone');
is($t->get("$at/photo", undef, \%key)->{status}, 404, 'the photo');
is($t->get($drawn->{thumbnail})->{status}, 404, 'the thumbnail');
is($t->get("/q/$drawn->{key}")->{status}, 404, 'the code');
is($t->get('/v1/me', undef, \%bob)->{status}, 200, 'others are not touched');
$r = $t->get($entry, undef, \%bob)->{json};
is($r->{note}, 'knows optics', 'who held it keeps the own layer');
ok(!exists $r->{live}, 'and no more');
unlike($t->get("$entry/history", undef, \%bob)->{body}, qr/[Zz]ebra/,
    'nor in the history');
is($t->post('/v1/me/phone', \%to_other, \%bob)->{status}, 429,
    'nor is the limit of a number that is not hers');

# --- twice at once -------------------------------------------------------------

{
    my $carl = $t->register('+8613800138002');
    my @said = sort { $a <=> $b } $t->at_once(map { sub {
        $t->request('DELETE', '/v1/me', { password =>
            $carl->{initial_password} }, { token => $carl->{access_token} })
            ->{status} } } 1, 2);
    is($said[0], 204, 'of two deletions at once one erases');
    like($said[1], qr/^(?:204|401)$/, 'and the other finds it done');
}

# --- nowhere ------------------------------------------------------------------

ok($t->outbox_empty(20), 'every effect has happened');

my @words = ('Zebra', 'zebra.example', $phone, 'Annas tablet',
    $anna->{initial_password}, $drawn->{key});
sub without {
    my ($where, $text) = @_;
    is(join(' ', grep { index($text, $_) >= 0 } @words), '', "not in $where");
}

is($t->psql("select count(*) from cardx.contacts c left join
        cardx.contact_history h on h.contact_id = c.contact_id
            and h.what = 'live'
    where c.contact_id = '$held->{contact_id}'
        and (c.seen is not null or h.what is not null)"), 0,
    'what the other one saw, sealed as it is');
without('PostgreSQL', CardxTest::capture('pg_dump', '-h',
    $t->var . '/pgrun', '-U', 'postgres', 'cardx'));
is($t->psql("select count(*) from cardx.media where user_id = "
    . "'$anna->{user_id}'"), 0, 'no medium');
is($t->psql("select octet_length(data_key) from cardx.users where user_id = "
    . "'$anna->{user_id}'"), 0, 'no data key');
is($t->psql("select count(*) from cardx.user_log where user_id = "
    . "'$anna->{user_id}'"), 0, 'no log');

# what is left for a day are ids: of her cards too, with who held them, since
# those have to be told
for (split /\n/, $t->psql("select table_name, column_name
    from information_schema.columns where table_schema = 'cardx'
        and column_name ~ '^(user|holder|owner|lower|higher|peer)_id\$'
        and table_name not in ('users', 'cards', 'terminals', 'card_keys',
            'gone_thumbnails') order by 1, 2")) {
    my ($table, $column) = split /\|/;
    next if "$table $column" =~ /^(?:grants|contacts) owner_id$/;
    is($t->psql("select count(*) from cardx.$table where $column =
        '$anna->{user_id}'"), 0, "$table.$column");
}

my $redis = '';
for my $name (@{ $t->redis('KEYS', '*') }) {
    my $type = $t->redis('TYPE', $name);
    my $value = $type eq 'hash' ? join ' ', @{ $t->redis('HGETALL', $name) }
        : $type eq 'string' ? $t->redis('GET', $name) : '';
    $redis .= "$name $value\n";
}
without('Redis', $redis);
without($_, $t->read_log($_)) for grep { $_ ne 'sms.log' }
    map { s{.*/}{}r } glob $t->var . '/log/*.log';

ok($t->wait_for(sub { !cached() }, 30), "not in nginx's cache");

# a try of a password is remembered by its number for an hour
is($t->post('/v1/sessions', { phone => $phone, password =>
    $anna->{initial_password}, terminal => { name => 'x' } })->{status}, 401,
    'there is nobody to sign in');

# --- and the number is free ---------------------------------------------------

my $again = $t->register($phone);
ok($again->{new_account}, 'a new account with the number');
isnt($again->{user_id}, $anna->{user_id}, 'another one');
is_deeply($t->get('/v1/cards', undef, { token => $again->{access_token} })
    ->{json}{items}, [], 'which inherits nothing');

# --- Redis away: committed, but not in force ----------------------------------

my $card = $t->card(\%bob, name => { full => 'Bob' });
%key = (key => $t->key(\%bob, $card)->{key});
is($t->get("/c/$card", undef, \%key)->{status}, 200, 'another card');
$t->signal('redis', 'STOP');
$r = $t->request('DELETE', '/v1/me', { password => $bob->{initial_password} },
    \%bob);
is($r->{status}, 503, 'Redis away');
is($r->{json}{code}, 'not_yet_in_force', 'not yet in force');
$t->thaw_redis;
ok($t->wait_for(sub { $t->get("/c/$card", undef, \%key)->{status} == 404 }, 20),
    'it comes into force by itself');
ok($t->wait_for(sub { $t->get('/v1/me', undef, \%bob)->{status} == 401 }, 20),
    'for the terminal, too');

# --- the husk goes, too --------------------------------------------------------

ok($t->outbox_empty(20), 'nothing is left to be told');
$t->psql("update cardx.cards set deleted_at = deleted_at - interval '2 days'
    where deleted_at is not null");
$t->psql("update cardx.users set erased_at = erased_at - interval '2 days'");
$t->psql('select cardx.sweep(100), cardx.sweep_erased(100)');
$t->psql('select cardx.sweep_erased(100)');
is($t->psql('select count(*) from cardx.users'), 1, 'after a day nothing is left');

$t->finish;
done_testing;
