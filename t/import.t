#!/usr/bin/perl
# The address book goes in and comes out: D4, D7, F7, F8 (docs/contacts.md).

use strict;
use utf8;
use warnings;

use Test::More;

use FindBin;
use lib "$FindBin::Bin/lib";
use CardxTest;
use CardxTest::Media;
use Encode ();
use MIME::Base64 ();

binmode Test::More->builder->$_, ':utf8'
    for qw(output failure_output todo_output);

my $t = CardxTest->new->start;
my @user = map { { token => $t->register("+86138000050$_")->{access_token} } }
    '01' .. '05';
my ($anna, $bela, $carl, $dora, $emil) = @user;
my $code = sub { $_[0]{json} && $_[0]{json}{code} || '' };
my $said = sub { "$_[0]{status} " . $code->($_[0]) };

sub import_vcards {
    my ($by, $text, $type) = @_;
    return $t->post('/v1/contacts/import', Encode::encode('UTF-8', $text),
        { %$by, 'Content-Type' => $type || 'text/vcard; charset=utf-8' });
}

sub counts {
    my ($r) = @_;
    return "$r->{status} " . substr $r->{body}, 0, 300 unless $r->{json}
        && defined $r->{json}{added};
    return join ' ', @{ $r->{json} }{qw(added merged unchanged)},
        scalar @{ $r->{json}{refused} };
}

sub book {
    my ($by, $query) = @_;
    return $t->get('/v1/contacts' . ($query || ''), undef, $by)->{json}{items};
}

# --- files as phones and mail programs write them --------------------------

my $photo = MIME::Base64::encode_base64(jpeg(), '');
my $folded = join "\r\n ", unpack '(A70)*', $photo;

# A phone of before smart phones: 2.1, quoted-printable with soft line breaks.
my $old = <<'EOT';
BEGIN:VCARD
VERSION:2.1
N;CHARSET=UTF-8;ENCODING=QUOTED-PRINTABLE:=E7=8E=8B;=E5=B0=8F=E6=98=8E;;;
FN;CHARSET=UTF-8;ENCODING=QUOTED-PRINTABLE:=E7=8E=8B=E5=B0=8F=E6=98=8E
TEL;CELL;PREF:13800138000
TEL;WORK:010-62345678
NOTE;CHARSET=UTF-8;ENCODING=QUOTED-PRINTABLE:met at the fair =
in =E5=8C=97=E4=BA=AC
X-QQ:12345
END:VCARD
EOT

# Apple's: 3.0, groups with labels of their own, a folded photo, CRLF.
my $apple = join "\r\n", 'BEGIN:VCARD', 'VERSION:3.0',
    'PRODID:-//Apple Inc.//iPhone OS 17.0//EN', 'N:Ångström;Anna;;;',
    'FN:Anna Ångström', 'ORG:Northern Lights AB;Optics', "TITLE:Engi\r\n neer",
    'item1.TEL;type=pref:+46 8 123 456 78', 'item1.X-ABLabel:Summer house',
    'TEL;type=CELL;type=VOICE:+46 70 123 45 67',
    'item2.EMAIL;type=INTERNET:anna@example.org',
    'item2.X-ABLabel:_$!<Work>!$_',
    'ADR;type=HOME:;;Storgatan 1;Stockholm;;11455;Sweden',
    'BDAY;X-APPLE-OMIT-YEAR=1604:1604-05-06',
    'X-SOCIALPROFILE;type=twitter:https://twitter.com/anna',
    "PHOTO;ENCODING=b;TYPE=JPEG:$folded", 'NOTE:two\, lines\nof it',
    'CATEGORIES:friends,optics', 'UID:apple-1', 'END:VCARD', '';

# A mail program's: 4.0, bare LF, parameters, a URI photo.
my $mail = <<'EOT';
BEGIN:VCARD
VERSION:4.0
UID:urn:uuid:03a0e51f-d1aa-4385-8a53-e29025acd8af
FN:Carl Öz
N:Öz;Carl;;Dr.;
TEL;VALUE=uri;TYPE="voice,work";PREF=1:tel:+49-40-333-1111
EMAIL;PROP-ID=mine;TYPE=home:carl@example.org
URL:https://Example.org/
LANG:de
IMPP:xmpp:carl@example.org
ANNIVERSARY:20090808
X-SPOUSE:Eva
END:VCARD
EOT

my $r = import_vcards($anna, $old . $apple . $mail);
is(counts($r), '3 0 0 0', 'three entries of three kinds');
my %by = map { $_->{card}{name}{full} => $_ } @{ book($anna) };
my $wang = $by{'王小明'};
ok($wang, 'quoted-printable');
is($wang->{note}, 'met at the fair in 北京',
    'over several lines; the note is the holder\'s');
is(join(' ', sort map { $_->{number} } values %{ $wang->{own}{phones} }),
    '010-62345678 13800138000', 'numbers as they were written');
like(JSON::PP->new->encode($wang->{own}), qr/12345/,
    'what JSContact has no place for');

my $ang = $by{'Anna Ångström'};
my ($summer) = grep { ($_->{label} || '') eq 'Summer house' }
    values %{ $ang->{own}{phones} };
is($summer->{number}, '+46 8 123 456 78', 'a label of Apple\'s');
my ($e) = values %{ $ang->{own}{emails} };
ok($e->{contexts}{work}, 'and one that it translates');
is_deeply([ sort @{ $ang->{tags} } ], [qw(friends optics)],
    'categories are tags');
is($ang->{note}, "two, lines\nof it", 'escapes');
is((values %{ $ang->{own}{titles} })[0]{name}, 'Engineer', 'a folded line');
is($ang->{media}{photo}{type}, 'image/jpeg', 'an embedded photo');
ok($t->get($ang->{media}{photo}{address}, undef, $anna)->{body} eq jpeg(),
    'byte for byte');
ok(!$ang->{own}{media}, 'which is not in the Card');
my $carl_ = $by{'Carl Öz'};
is($carl_->{own}{uid}, 'urn:uuid:03a0e51f-d1aa-4385-8a53-e29025acd8af',
    'a uid');
is($carl_->{own}{emails}{mine}{address}, 'carl@example.org', 'an item\'s id');
is_deeply($carl_->{pinned}, [], 'importing pins nothing');

# --- the same again --------------------------------------------------------

my $before = $t->psql('select md5(string_agg(c::text, chr(10)
    order by contact_id)) from cardx.contacts c');
my $history = $t->psql('select count(*) from cardx.contact_history');
is(counts(import_vcards($anna, $old . $apple . $mail)), '0 0 3 0',
    'the same file again');
is($t->psql('select md5(string_agg(c::text, chr(10) order by contact_id))
    from cardx.contacts c'), $before, 'changes nothing');
is($t->psql('select count(*) from cardx.contact_history'), $history,
    'also in the history');
is(counts(import_vcards($anna, "$mail$mail")), '0 0 2 0',
    'an entry that is there twice');
is(counts(import_vcards($bela, "$old$old")), '1 0 1 0',
    'twice in one file, without a uid: by number and name');
is(counts(import_vcards($bela, $old =~ s/13800138000/+8613800138000/r)),
    '0 0 1 0', 'a number in another spelling');
is(counts(import_vcards($bela, $old =~ s/=E7=8E=8B;=E5=B0=8F=E6=98=8E/Li;X/r
    =~ s/(FN.*:).*/$1Li X/r)), '1 0 0 0',
    'the same number with another name is another person');

my $mailed = "BEGIN:VCARD\nVERSION:4.0\nFN:Mia\nEMAIL:mia\@example.org\n"
    . "NOTE:one\nNOTE:two\nEND:VCARD\n";
is(counts(import_vcards($bela, $mailed)), '1 0 0 0', 'without a number');
is(counts(import_vcards($bela, $mailed =~ s/mia\@/MIA\@/r)), '0 0 1 0',
    'known by e-mail and name');
is(counts(import_vcards($bela, $mailed =~ s/FN:Mia/FN:Max/r)), '1 0 0 0',
    'not by e-mail alone');
my ($mia) = @{ book($bela, '?q=mia') };
is($mia->{note}, undef, 'of several notes none is the holder\'s');
is(join(' ', sort map { $_->{note} } values %{ $mia->{own}{notes} }),
    'one two', 'they stay the entry\'s');

# --- merging (D7) ----------------------------------------------------------

my $path = "/v1/contacts/$carl_->{contact_id}";
my $newer = $mail =~ s/333-1111/333-2222/r =~ s/LANG:de/LANG:de\nROLE:Boss/r;
is(counts(import_vcards($anna, $newer)), '0 1 0 0', 'an entry that differs');
$r = $t->get($path, undef, $anna)->{json};
my ($phone) = values %{ $r->{own}{phones} };
like($phone->{number}, qr/333-2222/, 'what differs is updated');
is(scalar keys %{ $r->{own}{phones} }, 1, 'in its place');
ok((grep { $_->{name} eq 'Boss' } values %{ $r->{own}{titles} }),
    'what is new is added');
$r = $t->get("$path/history", undef, $anna)->{json}{items}[0];
is($r->{what}, 'imported', 'the history tells');
ok((grep { ($_->{old}{number} // '') =~ /333-1111/ } @{ $r->{changes} }),
    'what was replaced');
my ($id) = keys %{ $t->get($path, undef, $anna)->{json}{own}{phones} };
$t->patch($path, { own => { phones => { $id => { number => '+49 1' } } } },
    $anna);
import_vcards($anna, $mail);
($phone) = values %{ $t->get($path, undef, $anna)->{json}{own}{phones} };
is($phone->{number}, '+49 1', 'what was edited by hand stays');

# --- what can't be taken ---------------------------------------------------

my $large = "BEGIN:VCARD\nVERSION:3.0\nFN:x\n"
    . join('', map { "X-A:$_" . 'y' x 4000 . "\n" } 1 .. 20) . "END:VCARD\n";
$r = import_vcards($carl, $mail . $large . $old . "no vCard at all\n");
is(counts($r), '2 0 0 2', 'a bad entry does not stop the rest')
    or diag($r->{body});
is(join(' ', map { $_->{index} } @{ $r->{json}{refused} }), '1 3', 'which');
ok(!(grep { !length $_->{reason} } @{ $r->{json}{refused} }), 'and why');
$r = $t->post('/v1/contacts/import', [ 5, { '@type' => 'Card',
    version => '1.0', name => { full => 'Good' } }, { '@type' => 'Group' },
    { own => 7 }, { phones => [] } ], $carl);
is(counts($r), '1 0 0 4', 'the same in JSON') or diag($r->{body});
is(counts($t->post('/v1/contacts/import', [], $carl)), '0 0 0 0', 'none');
is($said->(import_vcards($carl, $_)), '422 invalid_body', 'no vCard at all')
    for "\0" x 40, "hello\n", join("\0", split //, $mail), "\x{feff}";
is(counts(import_vcards($carl, $_)), '0 0 0 0', 'nothing, and all of that')
    for '', "\r\n \n";
is(counts(import_vcards($carl, "\x{feff} $mail")),
    '0 0 1 0', 'what stands before the first is left out');
is($said->(import_vcards($carl, " BEGIN:VCARD\n" x 1001)), '413 too_large',
    'and before any');
is($said->($t->post('/v1/contacts/import', { a => 1 }, $carl)),
    '422 invalid_body', 'no array');
is($said->($t->post('/v1/contacts/import', '[', { %$carl,
    'Content-Type' => 'application/json' })), '400 invalid_json', 'no JSON');
is($said->($t->post('/v1/contacts/import', 'x', { %$carl,
    'Content-Type' => 'text/plain' })), '415 unsupported_type', 'neither');
is($said->(import_vcards($carl, $mail x 1001)), '413 too_large',
    'more than 1 000 entries');
is($said->($t->post('/v1/contacts/import', 'x' x 8_388_609, { %$carl,
    'Content-Type' => 'text/vcard' })), '413 too_large', 'more than 8 MiB');
is(scalar @{ book($carl) }, 3, 'nothing of that is kept');

# --- out, and in again -----------------------------------------------------

sub shown {
    my ($by) = @_;
    return [ sort { $a->{card}{name}{full} cmp $b->{card}{name}{full} }
        map { { card => $_->{card}, note => $_->{note},
            tags => [ sort @{ $_->{tags} } ],
            photo => $_->{media}{photo} ? $_->{media}{photo}{bytes} : 0 } }
        @{ book($by) } ];
}

$t->post('/v1/contacts', { own => { '@type' => 'Card', version => '1.0',
    name => { full => 'Round Trip', isOrdered => \1, components => [
        { kind => 'given', value => 'Round' },
        { kind => 'surname', value => 'Trip' } ] },
    nicknames => { k => { name => 'Ro' } },
    phones => { a => { number => '+1 (555) 0100', features => { fax => \1 },
        contexts => { work => \1 }, label => 'desk', pref => 2 } },
    addresses => { h => { components => [ { kind => 'name', value => 'Way' },
        { kind => 'locality', value => 'Town' } ], countryCode => 'DE' } },
    onlineServices => { o => { service => 'Mastodon', user => '@ro' } },
    preferredLanguages => { l => { language => 'de' } },
    personalInfo => { p => { kind => 'hobby', value => 'chess' } },
    anniversaries => { b => { kind => 'birth', date => { year => 1980,
        month => 1, day => 2 } } },
    links => { w => { uri => 'https://example.org/ro' } },
    'example.org:unknown' => { deep => [1, 2, { x => 'y' }] } },
    note => "a note\nof mine", tags => ['x', 'y'] }, $anna);

my $was = shown($anna);
for my $form (['vcard', 'text/vcard', $dora],
    ['json', 'application/json', $emil]) {
    my ($format, $type, $by) = @$form;
    $r = $t->get("/v1/contacts/export?format=$format", undef, $anna);
    is($r->{status}, 200, "exported as $format") or diag($r->{body});
    like($r->{headers}{'content-type'}, qr/^\Q$type\E/, 'so it is called');
    is(counts($t->post('/v1/contacts/import', $r->{body}, { %$by,
        'Content-Type' => $type })), '4 0 0 0', 'imported elsewhere');
    is_deeply(shown($by), $was, 'nothing is lost')
        or diag(explain(shown($by)));
    is(counts($t->post('/v1/contacts/import', $r->{body}, { %$anna,
        'Content-Type' => $type })), '0 0 4 0',
        'imported where it came from: nothing changes');
}
$r = $t->get('/v1/contacts/export?version=3.0', undef, $anna);
is(scalar(() = $r->{body} =~ /VERSION:3\.0/g), 4, 'as 3.0 for phones');
is(counts($t->post('/v1/contacts/import', $r->{body}, { %$anna,
    'Content-Type' => 'text/vcard' })), '0 0 4 0', 'which changes nothing');
$r = $t->get('/v1/contacts/export', undef, { %$anna,
    Accept => 'application/json' });
is(ref $r->{json}, 'ARRAY', 'or as Accept says');
is($said->($t->get("/v1/contacts/export?$_->[0]", undef, $anna)), $_->[1],
    $_->[0]) for ['format=x', '422 invalid_format'],
    ['version=2.1', '422 invalid_version'], ['limit=x', '422 invalid_limit'];

# --- a live card in the book -----------------------------------------------

my $card = $t->card($emil, name => { full => 'Emil Live' },
    phones => { p => { number => '+495' } });
$t->put("/v1/cards/$card/media/photo", jpeg(), { %$emil,
    'Content-Type' => 'image/jpeg' });
my $key = $t->post("/v1/cards/$card/keys", {}, $emil)->{json}{key};
my $live = $t->post('/v1/contacts', { card_id => $card, key => $key },
    $carl)->{json};
$r = $t->get('/v1/contacts/export', undef, $carl);
like($r->{body}, qr/FN[^\n]*:Emil Live/, 'is exported as it is shown');
like($r->{body}, qr/PHOTO/, 'with its photo');
is(counts($t->post('/v1/contacts/import', $r->{body}, { %$carl,
    'Content-Type' => 'text/vcard' })), '0 0 4 0',
    'and imported again is still live');
is_deeply([ sort keys %{ $t->get("/v1/contacts/$live->{contact_id}", undef,
    $carl)->{json}{own} } ], [qw(@type uid version)],
    'with nothing in the holder\'s layer');

# --- who was deleted -------------------------------------------------------

$t->delete($path, undef, $anna);
is(counts(import_vcards($anna, $mail)), '1 0 0 0',
    'who was deleted is there anew');

# --- who know each other (D5) ----------------------------------------------

$t->card($dora, name => { full => 'Dora Own' });
my @known = map { "BEGIN:VCARD\nVERSION:3.0\nFN:Known\nTEL:$_\nEND:VCARD\n" }
    '+8613800005004', '+8613800005005';
import_vcards($emil, $known[0]);
import_vcards($dora, $known[1]);
ok($t->wait_for(sub {
    grep { $_->{live} && $_->{live}{name}{full} eq 'Dora Own' }
        @{ book($emil, '?q=Dora') };
}, 30), 'each has the other\'s number: the entry follows the other\'s card');
($r) = @{ book($emil, '?q=Dora') };
is($r->{own}{name}{full}, 'Known', 'beside what was imported');
$t->delete("/v1/contacts/$r->{contact_id}", undef, $emil);
ok($t->wait_for(sub {
    !grep { $_->{live} && $_->{live}{name}{full} eq 'Emil Live' }
        @{ book($dora) };
}, 30), 'an entry that is deleted follows no longer, nor is followed');

# --- two at once -----------------------------------------------------------

my $many = join '', map { "BEGIN:VCARD\nVERSION:3.0\nFN:P $_\nTEL:+49301$_\n"
    . "END:VCARD\n" } 1000 .. 1099;
my @both = $t->at_once(map { sub { counts(import_vcards($dora, $many)) } }
    1, 2);
is(join(', ', sort @both), '0 0 100 0, 100 0 0 0',
    'the same file twice at once');

$t->finish;
done_testing;
