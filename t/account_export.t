#!/usr/bin/perl
# GET /v1/me/export (F8): everything that is kept about an account.  Every
# table of the schema is either in it, or left out for a reason that stands
# here: a new one is in neither until somebody has decided.

use strict;
use utf8;
use warnings;

use Test::More;

use FindBin;
use lib "$FindBin::Bin/lib";
use CardxTest;
use CardxTest::Media;
use CardxTest::OpenAPI;

binmode Test::More->builder->$_, ':utf8'
    for qw(output failure_output todo_output);

# table => [list of the export, the person's rows of it].  Without a list:
# shown in another way, below.
my %told = (
    users => ['account', 'user_id = $me'],
    terminals => ['terminals', 'user_id = $me'],
    approvals => ['approvals', 'user_id = $me'],
    registrations => ['proofs', 'user_id = $me or phone = $phone'],
    sms => ['messages', 'recipient = $phone'],
    push_subscriptions => ['subscriptions', 'user_id = $me'],
    cards => ['cards', 'user_id = $me and deleted_at is null'],
    card_keys => ['keys', 'user_id = $me'],
    grants => [['holders', 'grants'], 'owner_id = $me or holder_id = $me'],
    blocks => ['blocks', 'owner_id = $me'],
    contacts => ['contacts', 'user_id = $me'],
    contact_history => ['history', 'user_id = $me'],
    match_entries => ['numbers', 'user_id = $me'],
    match_waiting => ['numbers_waiting', 'user_id = $me'],
    matches => ['matches', '$me in (lower_id, higher_id)'],
    match_quota => ['numbers_by_day', 'user_id = $me'],
    user_log => ['log', 'user_id = $me'],
    media => [undef, 'user_id = $me and replaced_at is null'],
    media_chunks => [undef, 'media_id in (select media_id from cardx.media
        where user_id = $me)'],
    thumbnails => [undef, 'user_id = $me'],
    own_thumbnails => [undef, 'user_id = $me'],
    contact_media => [undef, 'user_id = $me'],
);

my %left_out = (
    access_tokens => 'hashes; terminals say when they were seen',
    refresh_tokens => 'the same',
    password_tries => 'wrong passwords of the last hour, by whomever',
    idempotency => 'answers under keys that the server does not have',
    gone_thumbnails => 'ids of pictures that nobody may see any more',
    match_todo => 'work that fanout does in a moment',
    match_seen => 'hashes of numbers, to count each once in ten days',
    outbox => 'ids of what is to be done in a moment',
    fanouts => 'how far fanout is with a card',
    fanout_state => 'of the worker',
    log_state => 'of the database',
);

my $t = CardxTest->new(settings => { push_hosts => '.push.example' })->start;
my $phone = '+8613800006001';
my %who = (anna => $t->register($phone),
    bela => $t->register('+8613800006002'),
    carl => $t->register('+8613800006003'));
my ($anna, $bela, $carl) = map { { token => $who{$_}{access_token} } }
    qw(anna bela carl);

sub card { return { '@type' => 'Card', version => '1.0', @_ } }

sub done {
    my ($name, $r, $status) = @_;
    is($r->{status}, $status || 201, $name) or diag($r->{body});
    return $r->{json};
}

sub export {
    my ($by) = @_;
    return done('exported', $t->get('/v1/me/export', undef, $by), 200);
}

# --- an account in which there is something of everything -------------------

my $second = $t->sign_in($phone, $who{anna}{initial_password}, 'tablet');
$t->delete("/v1/me/terminals/$second->{terminal_id}", undef, $anna);
$t->forget_limits;
my $asked = $t->post('/v1/registrations', { phone => $phone, method =>
    'sms-down' })->{json}{registration_id};
my ($code) = $t->sms($phone) =~ /(\d{6})/;
$t->post("/v1/registrations/$asked/verify", { code => $code, terminal =>
    { name => 'stranger' } });
my $me = $t->get('/v1/me', undef, $anna)->{json};
done('a sign-in is refused', $t->post('/v1/me/approvals/'
    . $me->{approvals}[0]{approval_id}, { approve => \0 }, $anna), 204);
$t->patch('/v1/me', { nickname => 'Zoë' }, $anna);
$t->post('/v1/me/phone', { phone => '+8613800006009', method => 'sms-down' },
    $anna);
my %subscription = (endpoint => 'https://a.push.example/secret-endpoint',
    keys => { auth => 'BTBZMqHH6r4Tts7J_aSIgg',
        p256dh => $t->get('/v1/push/key', undef, $anna)->{json}{key} });
done('Web Push', $t->post('/v1/push/subscriptions', \%subscription, $anna));

my $id = done('a card', $t->post('/v1/cards', card(
    name => { full => 'Anna' }, phones => { p => { number => $phone } },
    'example.com:x' => 1), $anna))->{card_id};
$t->put("/v1/cards/$id/media/photo", jpeg(), { %$anna,
    'Content-Type' => 'image/jpeg' });
$t->put("/v1/cards/$id/thumbnail", png(480, 270), { %$anna,
    'Content-Type' => 'image/png' });
my $key = done('a key', $t->post("/v1/cards/$id/keys",
    { fields => ['phones'] }, $anna));
done('somebody saves it', $t->post('/v1/contacts', { card_id => $id,
    key => $key->{key} }, $carl));
done('somebody else', $t->post('/v1/contacts', { card_id => $id,
    key => $key->{key} }, $bela));
$t->delete("/v1/cards/$id/holders/$who{carl}{user_id}", undef, $anna);
$t->delete("/v1/cards/$id/keys/$key->{key_id}", undef, $anna);

my $theirs = done('a card of theirs', $t->post('/v1/cards', card(
    name => { full => 'Béla' }, titles => { t => { name => 'Smith' } },
    emails => { e => { address => 'b@example.org' } }), $bela))->{card_id};
my $some = $t->post("/v1/cards/$theirs/keys", { fields => ['titles'] },
    $bela)->{json};
my $live = done('is kept', $t->post('/v1/contacts', { card_id => $theirs,
    key => $some->{key}, note => 'at the fair', tags => ['x'] }, $anna));
my $own = done('an entry', $t->post('/v1/contacts', { own => card(
    name => { full => 'Bé' }, phones => { p => { number =>
    '+86 138 0000 6002' } } ) }, $anna));
my $mine = "/v1/contacts/$own->{contact_id}";
$t->put("$mine/media/photo", png(8, 8), { %$anna,
    'Content-Type' => 'image/png' });
$t->patch($mine, { own => { name => { full => 'Béla' } } }, $anna);
my @more = map { $t->post('/v1/contacts', { own => card(name =>
    { full => $_ }, uid => "urn:$_") }, $anna)->{json}{contact_id} }
    qw(deleted merged);
$t->delete("/v1/contacts/$more[0]", undef, $anna);
done('joined', $t->post("$mine/merge", { with => $more[1] }, $anna), 200);
done('they know each other', $t->post('/v1/contacts', { own => card(
    name => { full => 'A' }, phones => { p => { number => $phone } }) },
    $bela));
ok($t->wait_for(sub { $t->psql('select count(*) from cardx.matches')
    && !$t->psql("select count(*) from cardx.outbox
        where effect <> 'push'") }, 30),
    'and all effects have happened');

$t->psql("update cardx.match_quota set numbers = 20000 where user_id =
    '$who{anna}{user_id}'");
done('a number over the quota', $t->post('/v1/contacts', { own => card(
    name => { full => 'Over' }, phones => { p => { number => '+4930777' } })
    }, $anna));

# --- the tables --------------------------------------------------------------

my $export = export($anna);
my @tables = split /\n/, $t->psql("select table_name
    from information_schema.tables where table_schema = 'cardx'
        and table_type = 'BASE TABLE'
    order by table_name");
is(join(' ', grep { !$told{$_} && !$left_out{$_} } @tables), '',
    'every table is in the export, or left out for a reason');
my %there = map { $_ => 1 } @tables;
is(join(' ', grep { !$there{$_} } sort keys %told, keys %left_out), '',
    'and none is listed that is not there');

for my $table (sort keys %told) {
    my ($lists, $whose) = @{ $told{$table} };
    $whose =~ s/\$me/'$who{anna}{user_id}'/g;
    $whose =~ s/\$phone/'$phone'/g;
    my $n = $t->psql("select count(*) from cardx.$table where $whose");
    cmp_ok($n, '>', 0, "$table: the test has rows");
    next unless $lists;
    my @items = map { ref $export->{$_} eq 'ARRAY' ? @{ $export->{$_} }
        : $export->{$_} } ref $lists ? @$lists : $lists;
    is(scalar @items, $n, "$table: all of them are there");
    ok(!(grep { ref $_ ne 'HASH' || !keys %$_ } @items), "$table: as objects");
}

# Columns that have no member of their name: whose the rows are, what is told
# under another name, and what opens something or is of the work in hand.
my %other = (
    users => 'password data_key phone_lost_at match_on match_fields
        match_epoch match_all erased_at',
    terminals => 'user_id',
    approvals => 'user_id registration_id terminal_name',
    registrations => 'registration_id user_id code_hmac tries expires_at',
    sms => 'sms_id recipient sealed_text expires_at',
    push_subscriptions => 'user_id endpoint_hash sealed position',
    cards => 'user_id picture_version deleted_at',
    card_keys => 'user_id key_hash view',
    grants => 'holder_id owner_id',
    blocks => 'holder_id owner_id',
    contacts => 'user_id owner_id layer tokens seen',
    contact_history => 'history_id user_id changed_at',
    match_entries => 'user_id tag pair side epoch key_id fresh',
    match_waiting => 'user_id tag',
    matches => 'lower_id higher_id lower_tag higher_tag lower_contact_id
        higher_contact_id lower_card_id higher_card_id lower_fields
        higher_fields',
    match_quota => 'user_id',
    user_log => 'user_id object_id xid changed_at',
);

for my $table (grep { $told{$_}[0] } sort keys %told) {
    my $lists = $told{$table}[0];
    my %there = map { $_ => 1 } split(' ', $other{$table}), map { keys %$_ }
        map { ref $export->{$_} eq 'ARRAY' ? @{ $export->{$_} }
            : $export->{$_} } ref $lists ? @$lists : $lists;
    is(join(' ', grep { !$there{$_} } split /\n/, $t->psql("select column_name
        from information_schema.columns where table_schema = 'cardx'
            and table_name = '$table'")), '', "$table: every column");
}

good('it is as docs/openapi.yaml says', $schemas->check_closed($export,
    $document->{components}{schemas}{AccountExport}));

# --- what is in them ---------------------------------------------------------

like($export->{exported_at}, qr/^\d{4}-\d\d-\d\dT[\d:]+Z$/, 'when it was');
is_deeply($export->{account}, $t->get('/v1/me', undef, $anna)->{json},
    'the account, as its own call has it');
my ($gone) = grep { $_->{name} eq 'tablet' } @{ $export->{terminals} };
ok($gone->{signed_out_at}, 'a terminal that was signed out');
is($export->{approvals}[0]{terminal}{name}, 'stranger', 'who was refused');
is($export->{subscriptions}[0]{origin}, 'https://a.push.example',
    'where pushes go');

my ($card) = @{ $export->{cards} };
my $same = $t->get("/v1/cards/$id", undef, $anna)->{json};
is_deeply({ map { $_ => $card->{$_} } keys %$same }, $same,
    'a card, as its own call has it');
ok($card->{own_thumbnail}, 'with a picture of the owner\'s own');
is($t->get($card->{thumbnail})->{status}, 200, 'which is linked');
is($t->get($_->{address}, undef, $anna)->{status}, 200, 'so are its media')
    for values %{ $card->{media} };
is_deeply($export->{keys}[0]{fields}, ['phones'], 'its keys');
ok($export->{keys}[0]{revoked_at}, 'with when they were revoked');
is($export->{holders}[0]{user_id}, $who{bela}{user_id}, 'who holds it');
is((grep { $_->{via} eq 'key' } @{ $export->{holders} })[0]{source},
    $key->{key_id}, 'by which key');
is($export->{blocks}[0]{user_id}, $who{carl}{user_id}, 'who may not');
is(join(' ', sort map { "$_->{card_id} $_->{via}" } @{ $export->{grants} }),
    join(' ', sort "$theirs key", "$theirs match"), 'what was got, and how');

my %contact = map { $_->{contact_id} => $_ } @{ $export->{contacts} };
for my $contact ($live->{contact_id}, $own->{contact_id}) {
    $same = $t->get("/v1/contacts/$contact", undef, $anna)->{json};
    is_deeply({ map { $_ => $contact{$contact}{$_} } keys %$same }, $same,
        'a contact, as its own call has it');
    is($t->get($_->{address}, undef, $anna)->{status}, 200,
        'its media are linked')
        for values %{ $contact{$contact}{media} };
}
ok($contact{ $more[0] }{deleted_at}, 'one that was deleted');
is($contact{ $more[1] }{merged_into}, $own->{contact_id},
    'one that was joined');
is_deeply($contact{ $own->{contact_id} }{uids}, ['urn:merged'],
    'by what it is known');
is($export->{matches}[0]{user_id}, $who{bela}{user_id}, 'who is known by it');
is($export->{numbers}[0]{number}, '+8613800006002', 'the number that says so');

# --- what is not -------------------------------------------------------------

my $r = $t->get('/v1/me/export', undef, $anna);
like($r->{headers}{'content-disposition'}, qr/account\.json/, 'a file');
is($r->{headers}{'cache-control'}, 'no-store', 'that no cache keeps');
my %secret = (key => $key->{key}, SMS => $code, endpoint => 'secret-endpoint',
    'number of another' => '6003',
    map { $_ => $who{anna}{$_} } qw(access_token refresh_token
        initial_password));
$secret{password} = $t->psql("select password from cardx.users
    where user_id = '$who{anna}{user_id}'");
$secret{"$_->[0].$_->[1]"} = $t->psql("select encode($_->[1], 'hex')
    from cardx.$_->[0] where user_id = '$who{anna}{user_id}' limit 1")
    for ['users', 'data_key'], ['card_keys', 'key_hash'],
    ['access_tokens', 'token_hash'], ['push_subscriptions', 'endpoint_hash'];
is(index($r->{body}, $secret{$_}), -1, "no $_") for sort keys %secret;
$t->patch('/v1/me', { match => { on => \0 } }, $bela);
$t->wait_for(sub { !$t->psql("select count(*) from cardx.grants
    where via = 'match'") }, 30);
is(index($t->get('/v1/me/export', undef, $anna)->{body}, 'b@example.org'), -1,
    'nor what the grants do not show');
is($t->get('/v1/me/export')->{status}, 401, 'not without token');
is_deeply([ map { scalar @{ export($carl)->{$_} } } qw(cards holders) ],
    [0, 0], 'everybody has their own');

# --- in pages ----------------------------------------------------------------

my @many = map { card(name => { full => "P $_" }, phones => { p => {
    number => sprintf '+4930%06d', $_ } }) } 1 .. 120;
done('a book', $t->post('/v1/contacts/import', \@many, $bela), 200);
$t->psql("insert into cardx.user_log select '$who{bela}{user_id}', 'contact',
    'x' || n, 'delete', pg_current_xact_id(), now()
    from generate_series(1, 1234) n");
$export = export($bela);
for my $table (qw(contacts contact_history match_entries user_log)) {
    is(scalar @{ $export->{ $told{$table}[0] } },
        $t->psql("select count(*) from cardx.$table where user_id =
            '$who{bela}{user_id}'"), "$table, over several pages");
}
for my $list (qw(contacts numbers)) {
    my %one = map { $_->{contact_id} => 1 } @{ $export->{$list} };
    is(scalar keys %one, scalar @{ $export->{$list} }, "$list: none twice");
}

# --- half of it is nothing ---------------------------------------------------

$t->expect_log(qr/can't be read/);
$t->psql("update cardx.contacts set layer = 'x' where contact_id = (
    select contact_id from cardx.contacts
    where user_id = '$who{bela}{user_id}'
    order by created_at desc, contact_id collate \"C\" desc limit 1)");
$r = $t->get('/v1/me/export', undef, $bela);
is($r->{status}, 599, 'what can not be read cuts it: it is not taken for all')
    or diag(substr $r->{body}, -200);
like(substr($r->{body}, -200), qr/end of stream|unexpected|closed/i,
    'as a client sees');
is($t->get('/v1/me', undef, $bela)->{status}, 200, 'others go on');

$t->finish;
done_testing;
