#!/usr/bin/perl
# What comes back from an export equals what went in, property by property
# (RFC 9553), as vCard 4.0 and as JSON, in another account (F7, F8).

use strict;
use utf8;
use warnings;

use Test::More;

use FindBin;
use lib "$FindBin::Bin/lib";
use CardxTest;
use CardxTest::Media;
use MIME::Base64 ();

binmode Test::More->builder->$_, ':utf8'
    for qw(output failure_output todo_output);

my %context = (contexts => { work => \1 }, pref => 1, label => 'a label');
my %resource = (uri => 'https://example.org/it', mediaType => 'text/plain',
    %context);

# What a contact may have, each by itself: property, value and, where there is
# more than one, what is particular.
my @cases = (
    [name => { full => 'Dr. Anna Maria Ito, PhD', isOrdered => \1,
        defaultSeparator => ' ', sortAs => { surname => 'ito' },
        components => [map { { kind => $_->[0], value => $_->[1] } }
            [title => 'Dr.'], [given => 'Anna'], [given2 => 'Maria'],
            [surname => 'Ito'], [credential => 'PhD']] }],
    [name => { full => '山田 太郎', phoneticScript => 'Kana', isOrdered => \1,
        components => [{ kind => 'surname', value => '山田',
            phonetic => 'やまだ' }, { kind => 'separator', value => ' ' },
            { kind => 'given', value => '太郎', phonetic => 'たろう' }] },
        'phonetic'],
    [name => { full => 'Only a text' }, 'a full name alone'],
    [nicknames => { a => { name => 'Ann', %context, pref => 2 },
        b => { name => 'semi;colon, comma' } }],
    [organizations => { a => { name => 'Works; Ltd', sortAs => 'works',
        units => [{ name => 'Optics', sortAs => 'o' }, { name => 'Lenses' }] } }],
    [speakToAs => { grammaticalGender => 'neuter', pronouns => {
        a => { pronouns => 'they/them', pref => 2 },
        b => { pronouns => 'xe/xir', pref => 1 } } }],
    # what a vCard has no other form for than the default is written out
    [titles => { a => { name => 'Engineer', kind => 'title' },
        b => { name => 'Lead', kind => 'role' } }],
    [emails => { a => { address => 'a@example.org', %context },
        b => { address => 'b@example.org' } }],
    [onlineServices => { a => { service => 'Mastodon', user => '@a',
        uri => 'https://example.org/@a', %context } }],
    [onlineServices => { a => { uri => 'xmpp:a@example.org',
        vCardName => 'impp' } }, 'a messenger'],
    [phones => { a => { number => '+49 (30) 555-0100', %context,
        features => { mobile => \1, text => \1 } },
        b => { number => 'tel:+4930-5550101;ext=7' } }],
    [preferredLanguages => { a => { language => 'de-CH', pref => 1,
        contexts => { work => \1 } } }],
    [calendars => { a => { kind => 'calendar', %resource },
        b => { kind => 'freeBusy', %resource } }],
    [schedulingAddresses => { a => { uri => 'mailto:a@example.org',
        %context } }],
    [addresses => { a => { %context, contexts => { private => \1 },
        countryCode => 'DE', timeZone => 'Etc/GMT+1', isOrdered => \1,
        coordinates => 'geo:52.5,13.4', components => [
            { kind => 'number', value => '12' },
            { kind => 'separator', value => ' ' },
            { kind => 'name', value => 'Some; Street, N' },
            { kind => 'locality', value => 'Berlin' },
            { kind => 'postcode', value => '10115' }] } }],
    [addresses => { a => { full => "Way 1\n12345 Town" } }, 'full'],
    [cryptoKeys => { a => { %resource, mediaType => 'application/pgp-keys' } }],
    [directories => { a => { kind => 'directory', %resource, listAs => 2 },
        b => { kind => 'entry', uri => 'https://example.org/entry' } }],
    [links => { a => { %resource },
        b => { kind => 'contact', uri => 'mailto:a@example.org' } }],
    [media => { a => { kind => 'photo', uri => 'https://example.org/a.png' },
        b => { kind => 'sound', uri => 'https://example.org/a.ogg' } }],
    [localizations => { de => { 'titles/a/name' => 'Ingenieurin' } },
        'of a title', { titles => { a => { name => 'Engineer', kind => 'title' } } }],
    [anniversaries => { a => { kind => 'birth', date => { year => 1980,
        month => 2, day => 29 }, place => { full => 'Town' } },
        b => { kind => 'death', date => { '@type' => 'Timestamp',
            utc => '2019-10-15T23:10:00Z' } },
        c => { kind => 'wedding', date => { month => 5, day => 6 } } }],
    [keywords => { 'a;b' => \1, c => \1, all => \1 }],
    [notes => { a => { note => "one,\n;two", created =>
        '2020-01-02T03:04:05Z', author => { name => 'B' } },
        b => { note => 'second' } }],
    [personalInfo => { a => { kind => 'hobby', value => 'chess', level =>
        'high', listAs => 1, label => 'x' }, b => { kind => 'expertise',
        value => 'optics' }, c => { kind => 'interest', value => 'go' } }],
    [relatedTo => { 'urn:uuid:f81d4fae-7dec-11d0-a765-00a0c91e6bf6' =>
        { relation => { friend => \1 } } }],
    [members => { 'urn:uuid:03a0e51f-d1aa-4385-8a53-e29025acd8af' => \1 },
        'a group', { kind => 'group' }],
    [kind => 'org'],
    [language => 'de-AT'],
    [created => '2020-01-02T03:04:05Z'],
    [updated => '2021-01-02T03:04:05Z'],
    [prodId => '-//Somebody//Else//EN'],
    [uid => 'urn:uuid:a2c0b7be-6f0c-4a0b-a0b3-0123456789ab'],
    [vCardProps => [['x-old', {}, 'text', 'kept']]],
    ['example.org:unknown' => { deep => [1, 2.5, { x => 'ÿ' }, undef] }],
);

my $t = CardxTest->new->start;
my ($anna, @others) = map { { token =>
    $t->register("+861380000700$_")->{access_token} } } 1 .. 3;

# --- in ----------------------------------------------------------------------

my %was;    # note, which names the case: the contact
for my $n (0 .. $#cases) {
    my ($property, $value, $what, $more) = @{ $cases[$n] };
    my $r = $t->post('/v1/contacts', { own => { '@type' => 'Card',
        version => '1.0', name => { full => "Case $n" }, $property => $value,
        %{ $more || {} } }, note => "case $n", tags => ['all', "t$n"] }, $anna);
    is($r->{status}, 201, join ', ', $property, $what || ()) or diag($r->{body});
    $was{"case $n"} = $r->{json};
}
my $with = $t->post('/v1/contacts', { own => { '@type' => 'Card',
    version => '1.0', name => { full => 'With media' } },
    note => 'case media' }, $anna)->{json};
is($t->put("/v1/contacts/$with->{contact_id}/media/photo", jpeg(), { %$anna,
    'Content-Type' => 'image/jpeg' })->{status}, 201, 'a photo');
my %bytes = (photo => jpeg(), logo => png(8, 8), sound => wav(4000));
my $file = join '', "BEGIN:VCARD\r\nVERSION:4.0\r\nFN:Embedded\r\n"
    . "NOTE:case embedded\r\n", (map { uc($_->[0])
    . ":data:$_->[1];base64," . MIME::Base64::encode_base64($bytes{ $_->[0] },
    '') . "\r\n" } ['photo', 'image/jpeg'], ['logo', 'image/png'],
    ['sound', 'audio/wav']), "END:VCARD\r\n";
is($t->post('/v1/contacts/import', $file, { %$anna, 'Content-Type' =>
    'text/vcard' })->{json}{added}, 1, 'and an entry with all kinds of media');

# --- out, and in again elsewhere ---------------------------------------------

sub book {
    my ($by) = @_;
    return { map { ($_->{note} // '') => $_ }
        @{ $t->get('/v1/contacts', undef, $by)->{json}{items} } };
}

%was = %{ book($anna) };
for my $form (['vcard', 'text/vcard'], ['json', 'application/json']) {
    my ($format, $type) = @$form;
    my $by = shift @others;
    my $r = $t->get("/v1/contacts/export?format=$format", undef, $anna);
    my $in = $t->post('/v1/contacts/import', $r->{body}, { %$by,
        'Content-Type' => $type });
    is($in->{json}{added}, scalar keys %was, "$format: all of them")
        or diag($in->{body});
    my $is = book($by);

    for my $n (0 .. $#cases) {
        my ($property, undef, $what) = @{ $cases[$n] };
        my $name = join ', ', $property, $what || ();
        my ($then, $now) = map { $_->{"case $n"} } \%was, $is;
        is_deeply($now->{own}{$property}, $then->{own}{$property},
            "$format: $name")
            or diag(explain($now->{own}{$property}));
        is_deeply($now->{own}, $then->{own}, "$format: $name, and the rest")
            or diag(explain($now->{own}));
        is_deeply([sort @{ $now->{tags} }], [sort @{ $then->{tags} }],
            "$format: $name, its tags");
    }
    for my $case ('case media', 'case embedded') {
        my $media = $is->{$case}{media};
        is(join(' ', sort keys %$media), join(' ', sort keys
            %{ $was{$case}{media} }), "$format: $case");
        ok($t->get($media->{$_}{address}, undef, $by)->{body}
            eq $t->get($was{$case}{media}{$_}{address}, undef, $anna)->{body},
            "$format: $case, $_, byte for byte") for sort keys %$media;
    }
    is(join(' ', sort keys %{ $is->{'case embedded'}{media} }),
        'logo photo sound', "$format: of each kind");
}
ok($t->get($was{'case embedded'}{media}{$_}{address}, undef, $anna)->{body}
    eq $bytes{$_}, "$_: as it was in the file") for sort keys %bytes;

$t->finish;
done_testing;
