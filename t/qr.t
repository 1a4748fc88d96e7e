#!/usr/bin/perl
# Two QR codes: the link, and the offline one with the vCard itself (F3).
# They are read as a camera reads them.

use strict;
use utf8;
use warnings;

use Test::More;

use FindBin;
use lib "$FindBin::Bin/lib";
use CardxTest;
use CardxTest::Media;
use Encode ();

binmode Test::More->builder->$_, ':utf8'
    for qw(output failure_output todo_output);

plan skip_all => 'needs zbarimg and vips'
    if grep { !-x "/usr/bin/$_" } qw(zbarimg vips);

my $t = CardxTest->new->start;
my $anna = { token => $t->register('+8613800006001')->{access_token} };
my $bela = { token => $t->register('+8613800006002')->{access_token} };
my $file = $t->var . '/code';

# What a scanner reads in a picture of a code.
sub scan {
    my ($type, $bytes) = @_;
    open my $out, '>', "$file.$type" or die $!;
    binmode $out;
    print $out $bytes;
    close $out;
    if ($type eq 'svg') {
        CardxTest::capture('vips', 'thumbnail', "$file.svg", "$file.png",
            '900');
    }
    open my $in, '-|', 'zbarimg', '--raw', '-q', '--nodbus', '-Sbinary',
        "$file.png" or die $!;
    binmode $in;
    local $/;
    return scalar <$in>;
}

my $r = $t->post('/v1/cards', { '@type' => 'Card', version => '1.0',
    name => { full => '欧阳文静' },
    titles => { t => { name => '产品总监' } },
    phones => { w => { number => '+8613800138000' },
        h => { number => '+861065529988' } },
    emails => { e => { address => 'wenjing@example.org' } },
    notes => { n => { note => 'x' x 700 } } }, $anna);
my $id = $r->{json}{card_id};
my $path = "/v1/cards/$id";

# --- the link --------------------------------------------------------------

my $key = $t->post("$path/keys", {}, $anna)->{json};
my $read = scan('svg', $key->{qr_svg});
is($read, uc($t->url . "/q/$key->{key}"), 'the code holds the short address');
like($read, qr/^[0-9A-Z \$%*+.\/:-]+$/, 'in characters that make it small');
my ($side) = $key->{qr_svg} =~ /viewBox="0 0 (\d+) \1"/;
cmp_ok($side, '<=', 41, 'so it is small');
my ($scanned) = $read =~ m{^\w+://[^/]+(/.*)};
$r = $t->get($scanned);
is("$r->{status} $r->{headers}{location}", "302 $key->{link}", 'and leads');
$r = $t->get($r->{headers}{location}, undef, { Accept => 'text/html' });
is($r->{status}, 200, 'to the card');

# --- the vCard itself ------------------------------------------------------

$r = $t->get("$path/qr.svg", undef, $anna);
is("$r->{status} $r->{headers}{'content-type'}", '200 image/svg+xml', 'SVG')
    or diag($r->{body});
is($r->{headers}{'cache-control'}, 'private, no-cache', 'private');
my $vcard = Encode::decode('UTF-8', scan('svg', $r->{body}));
like($vcard, qr/^BEGIN:VCARD\r\nVERSION:3\.0\r\n.*END:VCARD\r\n$/s, '3.0');
for my $line ('FN:欧阳文静', 'TITLE:产品总监', 'TEL[^\r]*:\+8613800138000',
    'TEL[^\r]*:\+861065529988', 'EMAIL[^\r]*:wenjing@example.org',
    'NOTE:x{700}') {
    like($vcard, qr/^$line\r$/m, substr $line, 0, 30);
}
unlike($vcard, qr/PRODID|UID|REV|PHOTO/, 'short');

$r = $t->get("$path/qr.png?size=800&fields=phones/w,titles", undef, $anna);
is("$r->{status} $r->{headers}{'content-type'}", '200 image/png', 'PNG')
    or diag($r->{body});
is(join('x', size_of($r->{body})), '800x800', 'of that size');
$vcard = Encode::decode('UTF-8', scan('png', $r->{body}));
like($vcard, qr/^FN:欧阳文静\r$/m, 'with the name');
like($vcard, qr/13800138000/, 'what is listed');
unlike($vcard, qr/1065529988|EMAIL|NOTE/, 'and no more');
is(join('x', size_of($t->get("$path/qr.png", undef, $anna)->{body})),
    '512x512', 'a size if none is named');
for my $method ('svg', 'png') {
    my $fields = '?fields=name';
    $vcard = scan($method,
        $t->get("$path/qr.$method$fields", undef, $anna)->{body});
    unlike($vcard, qr/TEL|TITLE/, "$method: the name alone");
}

# --- refused ---------------------------------------------------------------

sub code { "$_[0]{status} " . ($_[0]{json} ? $_[0]{json}{code} : '') }

$t->patch($path, { notes => { n => { note => 'x' x 900 } },
    addresses => { a => { full => 'Long Street ' x 12 } } }, $anna);
$r = $t->get("$path/qr.svg", undef, $anna);
is(code($r), '422 too_large_for_code', 'too much for a code');
cmp_ok($r->{json}{bytes}, '>', 1000, 'it has more bytes');
is($r->{json}{bytes_max}, 1000, 'than it may');
is(join(' ', @{ $r->{json}{leave_out} }), 'notes', 'what to leave out');
is(join(' ', map { $_->{name} } @{ $r->{json}{properties} }),
    'notes addresses phones emails titles', 'in order of size')
    or diag($r->{body});
like($r->{json}{detail}, qr/Leave out `notes` \(9\d\d bytes\)/, 'in words');
$r = $t->get("$path/qr.svg?fields=addresses,phones,emails,titles", undef,
    $anna);
is($r->{status}, 200, 'without it there is a code');

is(code($t->get("$path/qr.png?size=$_&fields=phones", undef, $anna)),
    '422 invalid_size', "size $_") for 63, 4097, 'x', -1, '1e3';
is(code($t->get("$path/qr.png?size=64&fields=phones,emails,titles,addresses",
    undef, $anna)), '422 invalid_size', 'too few pixels for it');
is(code($t->get("$path/qr.svg?fields=$_", undef, $anna)),
    '422 invalid_fields', 'no fields') for '/,', 'titles,phones/*', 'PHONES';
is(code($t->get("$path/qr.svg", undef, $bela)), '404 not_found',
    "somebody else's card");
is(code($t->get("$path/qr.svg")), '401 unauthorized', 'nobody');
$t->delete($path, undef, $anna);
is(code($t->get("$path/qr.svg", undef, $anna)), '404 not_found', 'gone');

$t->finish;
done_testing;
