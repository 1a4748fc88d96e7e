#!/usr/bin/perl

# Pictures: cleaned of metadata, refused when hostile, drawn as thumbnails, in
# a process that gives everything up before it reads (A1, A6).

use strict;
use warnings;
use utf8;

use Compress::Zlib qw(compress crc32);
use Cwd qw(abs_path);
use File::Basename qw(dirname);
use File::Temp qw(tempdir);
use IO::Socket::UNIX;
use POSIX ();
use Test::More;
use Time::HiRes qw(sleep time);

binmode Test::More->builder->$_, ':utf8'
    for qw(output failure_output todo_output);

my $root  = abs_path(dirname(__FILE__) . '/..');
my $build = $ENV{CARDX_BUILD} || "$root/build";
my $dir   = tempdir('cardx-picture-XXXXXX', TMPDIR => 1, CLEANUP => 1);
my $sock  = "$dir/picture.sock";
my $log   = "$dir/log";
my $font;
my $server;
my $owner = $$;

# A server that is gone fails a test; it does not end all of them.
$SIG{PIPE} = 'IGNORE';

for my $program ("$build/cardx-picture", "$build/tools/picture_try") {
    plan skip_all => "$program is not built" unless -x $program;
}

for my $program (qw(vips vipsheader exiftool heif-enc fc-match)) {
    plan skip_all => "$program is not installed"
        unless grep { -x "$_/$program" } split /:/, $ENV{PATH};
}

# --- helpers

sub run {
    my (@command) = @_;
    my $pid = open(my $out, '-|') // die "fork: $!";

    if ($pid == 0) {
        open STDERR, '>&', \*STDOUT;
        utf8::encode($_) for grep { utf8::is_utf8($_) } @command;
        exec @command or die "$command[0]: $!";
    }

    local $/;
    my $text = <$out> // '';
    close $out;
    return $text =~ s/\s+\z//r;
}

sub must {
    my $text = run(@_);
    die "@_: $text" if $?;
    return $text;
}

sub try { return run("$build/tools/picture_try", @_) }

sub slurp {
    my ($path) = @_;
    open my $f, '<:raw', $path or die "$path: $!";
    local $/;
    return scalar <$f>;
}

sub spew {
    my ($path, $bytes) = @_;
    open my $f, '>:raw', $path or die "$path: $!";
    print $f $bytes;
    close $f or die "$path: $!";
    return $path;
}

sub wait_until {
    my ($what) = @_;
    my $end = time + 15;

    until ($what->()) {
        return 0 if time > $end;
        sleep 0.02;
    }

    return 1;
}

sub start_server {
    $server = fork // die "fork: $!";

    if ($server == 0) {
        open STDERR, '>>', $log;
        open STDOUT, '>&', \*STDERR;
        exec "$build/cardx-picture", $sock or die $!;
    }

    # Only an answer counts: an old socket may lie there from a kill.
    wait_until(sub {
        my $s = connection() or return;
        print $s frame('?');
        return answer_of($s);
    }) or die "no server: " . slurp($log);
    idle();
}

sub stop_server {
    my ($signal) = @_;
    kill $signal, $server;
    waitpid $server, 0;
    undef $server;
}

# A test that dies leaves no server.
END {
    local $?;
    stop_server('TERM') if $server && $$ == $owner;
}

sub connection {
    return IO::Socket::UNIX->new(Peer => $sock);
}

# A connection with the only child there is.
sub lone_connection {
    idle();
    my $s = connection() or die "no server";
    wait_until(sub { children() == 1 }) or die "no child";
    return $s;
}

sub children {
    my $list = eval { slurp("/proc/$server/task/$server/children") } // '';
    return split ' ', $list;
}

sub idle { return wait_until(sub { !children() }) }

sub frame {
    my ($kind, @parts) = @_;
    return pack('a4 a1 C C C', 'cxp1', $kind, scalar @parts, 0, 0)
        . pack('N*', map { length } @parts)
        . join('', @parts);
}

sub answer_of {
    my ($s) = @_;
    my ($bytes, $part) = ('');

    local $SIG{ALRM} = sub { die "no answer\n" };
    alarm 30;
    $bytes .= $part while sysread $s, $part, 65536;
    alarm 0;

    return $bytes;
}

sub normalise {
    my ($in) = @_;
    return try('normalise', $sock, $in, "$dir/picture", "$dir/vcard");
}

sub field { return must('vipsheader', '-f', $_[0], $_[1]) }

sub point {
    my ($file, $x, $y) = @_;
    return split ' ', must('vips', 'getpoint', $file, $x, $y);
}

sub near {
    my ($got, $want, $name) = @_;
    my $far = grep { abs($got->[$_] - $want->[$_]) > 24 } 0 .. $#$want;
    ok !$far, $name or diag "got @$got, expected @$want";
}

# Every group of tags that says more than how the picture is coded.
sub clean {
    my ($file, $name) = @_;
    my @tags = split /\n/, run('exiftool', '-a', '-G1', '-s', $file);
    my $coded = qr/ExifTool|System|File|JFIF|PNG|PNG-pHYs|RIFF|Composite/;
    my @bad = grep { !/^\[(?:$coded)\]/ || /Comment|GPS|Author/ } @tags;

    push @bad, 'told in so many bytes'
        if slurp($file) =~ /Exif|GPS|Secretville|adobe\.com/;
    ok !@bad, $name or diag join "\n", @bad;
}

# --- pictures

my @red  = (200, 30, 40);
my @blue = (30, 60, 200);

# Left half red, right half blue.
sub ppm {
    my ($path, $w, $h) = @_;
    my $row = pack('C3', @red) x int($w / 2);
    $row .= pack('C3', @blue) x ($w - int($w / 2));
    return spew($path, "P6\n$w $h\n255\n" . $row x $h);
}

sub noise {
    my ($path, $w, $h) = @_;
    srand 7;
    my $row = join '', map { chr int rand 256 } 1 .. 3 * ($w + 997);
    my $all = "P6\n$w $h\n255\n";
    $all .= substr $row, 3 * int(rand 997), 3 * $w for 1 .. $h;
    return spew($path, $all);
}

sub png {
    my ($w, $h, $colour, $data) = @_;
    my $chunk = sub {
        return pack('N', length $_[1]) . $_[0] . $_[1]
            . pack('N', crc32($_[0] . $_[1]));
    };
    return "\x89PNG\r\n\x1a\n"
        . $chunk->('IHDR', pack('NNC5', $w, $h, 8, $colour, 0, 0, 0))
        . $chunk->('IDAT', $data) . $chunk->('IEND', '');
}

sub vips { return must('vips', @_) }

ppm("$dir/plain.ppm", 300, 200);
vips('copy', "$dir/plain.ppm", "$dir/plain.jpg[Q=95]");
vips('copy', "$dir/plain.ppm", "$dir/gps.jpg[Q=95]");
must('exiftool', '-q', '-overwrite_original', '-Orientation#=6',
     '-GPSLatitude=48.1', '-GPSLatitudeRef=N', '-GPSLongitude=11.5',
     '-GPSLongitudeRef=E', '-Make=Phone', '-XMP-dc:Creator=Somebody',
     '-IPTC:City=Secretville', '-Comment=Secretville',
     '-DateTimeOriginal=2024:01:01 10:00:00', "$dir/gps.jpg");
vips('copy', "$dir/gps.jpg", "$dir/gps.webp[Q=95]");
vips('copy', "$dir/gps.jpg", "$dir/gps.png");
must('exiftool', '-q', '-overwrite_original', '-XMP-exif:GPSLatitude=48.1',
     '-PNG:Comment=Secretville', "$dir/gps.png");
must('heif-enc', '-q', '90', '-o', "$dir/gps.heic", "$dir/gps.jpg");
must('heif-enc', '-A', '-q', '90', '-o', "$dir/gps.avif", "$dir/gps.jpg");

like must('exiftool', '-GPSLatitude', '-n', "$dir/gps.jpg"), qr/48\.1/,
    'the phone wrote where it was';

chomp($font = must('fc-match', '-f', '%{file}', 'Noto Sans'));

start_server();

# --- what is kept

is normalise("$dir/gps.jpg"), 'ok image/jpeg 200 300', 'JPEG stands upright';
clean("$dir/picture", 'JPEG tells nothing');
clean("$dir/vcard", "vCard's JPEG tells nothing");
near([ point("$dir/picture", 100, 30) ], \@red, 'what was left is on top');
near([ point("$dir/picture", 100, 270) ], \@blue, 'what was right is below');
is field('width', "$dir/vcard"), 200, "vCard's JPEG is upright too";

is normalise("$dir/gps.webp"), 'ok image/webp 200 300', 'WebP stands upright';
clean("$dir/picture", 'WebP tells nothing');

like normalise("$dir/gps.png"), qr{^ok image/png \d+ \d+$}, 'PNG';
clean("$dir/picture", 'PNG tells nothing');
clean("$dir/vcard", 'nor does the JPEG made of it');

for my $kind (qw(heic avif)) {
    # How these stand is told by the container, never by EXIF.
    is normalise("$dir/gps.$kind"), 'ok image/jpeg 300 200',
        "\U$kind\E becomes a JPEG";
    clean("$dir/picture", "of \U$kind\E nothing is told");
    near([ point("$dir/picture", 30, 100) ], \@red, 'and it looks the same');
}

# Where the red half is to be seen, by the orientation of EXIF.
my %side = (2 => 'right', 3 => 'right', 4 => 'left', 5 => 'top', 6 => 'top',
            7 => 'bottom', 8 => 'bottom');
my %at = (left => [ 9, 90 ], right => [ 290, 90 ], top => [ 90, 9 ],
          bottom => [ 90, 290 ]);

for my $turn (sort keys %side) {
    spew("$dir/turn.jpg", slurp("$dir/plain.jpg"));
    must('exiftool', '-q', '-overwrite_original', "-Orientation#=$turn",
         "$dir/turn.jpg");
    is normalise("$dir/turn.jpg"),
        'ok image/jpeg ' . ($turn < 5 ? '300 200' : '200 300'),
        "orientation $turn";
    near([ point("$dir/picture", @{ $at{ $side{$turn} } }) ], \@red,
         "  red is at the $side{$turn}");
}

vips('icc_transform', "$dir/plain.ppm", "$dir/p3.jpg[Q=95]", 'p3',
     '--input-profile', 'srgb');
like normalise("$dir/p3.jpg"), qr/^ok/, 'a picture in Display P3';
clean("$dir/picture", 'its profile is gone');
near([ point("$dir/picture", 30, 30) ], \@red, 'its colours are right');

vips('colourspace', "$dir/plain.ppm", "$dir/cmyk.jpg[Q=95]", 'cmyk');
like normalise("$dir/cmyk.jpg"), qr/^ok/, 'CMYK';
is field('bands', "$dir/picture"), 3, '  has become RGB';

vips('colourspace', "$dir/plain.ppm", "$dir/grey.jpg", 'b-w');
like normalise("$dir/grey.jpg"), qr/^ok/, 'grey';

vips('bandjoin_const', "$dir/grey.jpg", "$dir/faint.png", 128);
is normalise("$dir/faint.png"), 'ok image/png 300 200', 'grey, transparent';
vips('copy', "$dir/plain.ppm", "$dir/palette.png[palette]");
is normalise("$dir/palette.png"), 'ok image/png 300 200', 'a palette';
near([ point("$dir/picture", 30, 30) ], \@red, '  its colours are right');

spew("$dir/nonsense.icc", 'not a profile' x 20);
spew("$dir/icc.jpg", slurp("$dir/plain.jpg"));
run('exiftool', '-q', '-m', '-overwrite_original',
    "-ICC_Profile<=$dir/nonsense.icc", "$dir/icc.jpg");
is normalise("$dir/icc.jpg"), 'ok image/jpeg 300 200', 'a broken profile';
clean("$dir/picture", '  is gone');

vips('colourspace', "$dir/plain.ppm", "$dir/deep.png", 'rgb16');
like normalise("$dir/deep.png"), qr/^ok/, '16 bits';
like field('format', "$dir/picture"), qr/uchar/i, '  have become 8';

vips('bandjoin_const', "$dir/plain.ppm", "$dir/alpha.png", 0);
is normalise("$dir/alpha.png"), 'ok image/png 300 200', 'transparency';
is field('bands', "$dir/picture"), 4, '  is kept';
near([ point("$dir/vcard", 9, 9) ], [ 255, 255, 255 ], '  or white in vCard');

ppm("$dir/large.ppm", 3000, 2000);
vips('copy', "$dir/large.ppm", "$dir/large.jpg");
is normalise("$dir/large.jpg"), 'ok image/jpeg 2048 1365', 'large: shrunk';
is field('width', "$dir/vcard"), 720, 'for vCard to 720';

noise("$dir/noise.ppm", 1100, 1100);
vips('copy', "$dir/noise.ppm", "$dir/noise.png");
like normalise("$dir/noise.png"), qr{^ok image/png 1100}, 'noise as PNG';
cmp_ok -s "$dir/vcard", '<=', 204800, "vCard's JPEG is small all the same";

ppm("$dir/one.ppm", 2, 1);
vips('copy', "$dir/one.ppm", "$dir/one.png");
is normalise("$dir/one.png"), 'ok image/png 2 1', 'two pixels are a picture';

vips('join', "$dir/plain.ppm", "$dir/plain.ppm", "$dir/tall.v", 'vertical');
vips('webpsave', "$dir/tall.v", "$dir/film.webp", '--page-height', 200);
is normalise("$dir/film.webp"), 'ok image/webp 300 200',
    'of a film the first frame';

# --- what is refused

my $no_format = qr/^refused This is not a picture that can be used/;
my $broken    = qr/^refused The picture is damaged or cut off/;

vips('copy', "$dir/plain.ppm", "$dir/x.gif");
vips('copy', "$dir/plain.ppm", "$dir/x.tif");
spew("$dir/x.svg", '<svg xmlns="http://www.w3.org/2000/svg" width="9"/>');
spew("$dir/x.pdf", "%PDF-1.4\n");
spew("$dir/x.txt", "hello\n" x 100);
spew("$dir/x.empty", '');
like normalise("$dir/x.$_"), $no_format, "refused: $_"
    for qw(gif tif svg pdf txt empty);

spew("$dir/short.$_", slurp("$dir/gps.$_") =~ s/.{300}\z//sr)
    for qw(jpg png webp heic avif);
like normalise("$dir/short.$_"), $broken, "cut off: $_"
    for qw(jpg png webp heic avif);

srand 11;
my $random = join '', map { chr int rand 256 } 1 .. 20000;
spew("$dir/r.jpg", "\xff\xd8\xff\xe0" . $random);
spew("$dir/r.png", "\x89PNG\r\n\x1a\n" . $random);
spew("$dir/r.webp", "RIFF" . pack('V', 20000) . 'WEBPVP8 ' . $random);
spew("$dir/r.heic", pack('N', 24) . "ftypheic\0\0\0\0mif1heic" . $random);
like normalise("$dir/r.$_"), qr/^refused /, "random bytes: $_"
    for qw(jpg png webp heic);

spew("$dir/bomb.png", png(30000, 30000, 0, compress("\0" x 30_000_000)));
like normalise("$dir/bomb.png"), qr/60 megapixels/, 'a bomb of a PNG';
spew("$dir/over.png", png(7800, 7800, 0, compress("\0" x (7801 * 7800))));
like normalise("$dir/over.png"), qr/60 megapixels/, 'just too many pixels';
spew("$dir/most.png", png(7700, 7700, 0, compress("\0" x (7701 * 7700))));
is normalise("$dir/most.png"), 'ok image/png 2048 2048', 'just not too many';
spew("$dir/thin.png", png(20000, 2, 0, compress("\0" x 40002)));
like normalise("$dir/thin.png"), qr/a hundred times/, 'a line';
spew("$dir/fat.jpg", slurp("$dir/plain.jpg") . "\0" x 5_300_000);
like normalise("$dir/fat.jpg"), qr/larger than 5 MiB/, 'too many bytes';

ok idle(), 'no child is left';

# --- thumbnails

sub is_thumbnail {
    my ($answer, $file, $name) = @_;
    subtest $name => sub {
        like $answer, qr/^ok \d+$/, 'made' or return;
        cmp_ok -s $file, '<=', 24576, 'small';
        my $header = must('vipsheader', '-a', $file);
        like $header, qr/^vips-loader: webpload$/m, 'WebP';
        like $header, qr/^width: 480$/m, 'wide';
        like $header, qr/^height: 270$/m, 'high';
        clean($file, 'without metadata');
    };
}

for my $in (qw(gps.jpg gps.heic large.jpg noise.png one.png alpha.png)) {
    is_thumbnail(try('thumbnail', $sock, "$dir/$in", "$dir/t.webp"),
                 "$dir/t.webp", "own thumbnail from $in");
}

noise("$dir/noise2.ppm", 480, 270);
vips('copy', "$dir/noise2.ppm", "$dir/noise2.png");
is_thumbnail(try('thumbnail', $sock, "$dir/noise2.png", "$dir/t.webp"),
             "$dir/t.webp", 'own thumbnail of noise that fits already');
like try('thumbnail', $sock, "$dir/x.gif", "$dir/t.webp"), $no_format,
    'own thumbnail: no GIF';

sub draw { return try('draw', $sock, @_) }

my @cards = (
    [ 'Amélie Dubois-Šírová', 'Head of Design', 'Nordlicht' ],
    [ '张伟', '高级工程师', '上海云桥科技有限公司' ],
    [ '欧阳明月', '经理', '' ],
    [ 'محمد عبد الرحمن', 'مدير', 'شركة النور' ],
    [ 'דוד בן־גוריון', 'ראש צוות', '' ],
    [ 'प्रिया शर्मा', 'अभियंता', '' ],
    [ 'สมชาย ใจดี', '', '' ],
    [ '田中さくら', '営業部長', '' ],
    [ '김민준', '', '' ],
    [ '🎉🧑‍🚀', '🚀', '☕' ],
    [ '', '', '' ],
    [ '', '', 'Müller & Söhne' ],
    [ 'x' x 3000, 'y' x 3000, 'z' x 3000 ],
    [ 'word ' x 100, 'long ' x 100, 'name ' x 100 ],
    [ "Z\x{0351}\x{0352}\x{0353}" . "\x{0357}" x 200, "\x{202e}evil", '' ],
    [ "a\nb\tc\x01", "\x{fffd}\x{feff}", "\x{10ffff}" ],
);

is_thumbnail(draw("$dir/d.webp", @$_), "$dir/d.webp",
             'drawn: ' . substr "@$_" =~ s/[^\w -]+/?/gr, 0, 40)
    for @cards;

is_thumbnail(draw("$dir/d.webp", "bad \xff\xfe utf-8 \xc3", '', ''),
             "$dir/d.webp", 'drawn: what is not UTF-8');

draw("$dir/a.webp", 'Anna Schmidt', 'CEO', 'Firma');
draw("$dir/b.webp", 'Anna Schmidt', 'CEO', 'Firma');
ok slurp("$dir/a.webp") eq slurp("$dir/b.webp"), 'same card, same bytes';

my $plain = ('<b>' . 'Anna' . '</b>');
draw("$dir/b.webp", $plain,  '', '');
draw("$dir/c.webp", 'Anna', '', '');
ok slurp("$dir/b.webp") ne slurp("$dir/c.webp"), 'markup is text';

sub coloured {
    my ($x) = @_;
    my ($r, $g, $b) = point("$dir/a.webp", $x, 262);
    return $r + $g + $b < 600;
}

ok coloured(4) && !coloured(475), 'read from the left: colour at the left';
draw("$dir/a.webp", 'مريم', '', '');
ok !coloured(4) && coloured(475), 'read from the right: the other way round';

is_thumbnail(draw("$dir/p.webp", 'Anna', '', '', "$dir/plain.jpg",
                  "$dir/alpha.png"),
             "$dir/p.webp", 'drawn with photo and logo');
near([ point("$dir/p.webp", 60, 135) ], \@red, 'the photo is in the drawing');
is_thumbnail(draw("$dir/p.webp", 'Anna', '', '', "$dir/short.jpg",
                  "$dir/r.png"),
             "$dir/p.webp", 'drawn although photo and logo are broken');

# --- the sandbox

my $s = lone_connection();
my ($child) = children();

ok wait_until(sub { slurp("/proc/$child/status") =~ /^Seccomp:\s+2$/m }),
    'and is shut in, before the first byte';
like slurp("/proc/$child/status"), qr/^NoNewPrivs:\s+1$/m, 'for good';

SKIP: {
    my $limits = eval { slurp("/proc/$child/limits") };
    skip 'the limits of the child can not be seen', 2 unless defined $limits;
    like $limits, qr/^Max file size\s+0\s+0 /m, 'it writes no file';
    like $limits, qr/^Max cpu time\s+10\s+10 /m, 'it has little time';
}

unlike slurp("/proc/$server/status"), qr/^Threads:\s+(?!1$)/m,
    'the parent is alone, so that it can fork';
close $s;

sub sandboxed {
    run("$build/tools/picture_try", 'sandbox', $font, $_[0]);
    return $? & 127 ? 'killed' : $? >> 8 ? 'refused' : 'possible';
}

my $sanitized = slurp("$build/cardx-picture") =~ /__asan_init/;

is sandboxed('font'), 'possible', 'a font can be opened';
is sandboxed('open'), 'refused',  'no other file';
is sandboxed('code'), 'refused',  'no new code';

SKIP: {
    skip 'sanitizers need more calls and memory', 5 if $sanitized;
    is sandboxed($_), 'killed', "killed: $_" for qw(socket fork exec kill);
    is sandboxed('memory'), 'refused', 'memory is bounded';
}

# --- clients and children that behave badly

sub reason {
    my ($bytes) = @_;
    my ($magic, $kind, $count, undef, $len, $reason) =
        unpack 'a4 a1 C n N C', $bytes;
    return "$magic $kind " . ($reason // '') if defined $len && $len == 1;
    return 'none';
}

idle();
$s = connection();
print $s 'GET / HTTP/1.0';
is reason(answer_of($s)), 'cxp1 r 7', 'what is no frame is refused';

$s = connection();
print $s pack('a4 a1 C C C', 'cxp1', 'n', 200, 0, 0);
is reason(answer_of($s)), 'cxp1 r 7', 'too many parts';

$s = connection();
print $s pack('a4 a1 C C C N', 'cxp1', 'n', 1, 0, 0, 0xffffffff);
is reason(answer_of($s)), 'cxp1 r 7', 'parts too large';

$s = connection();
print $s frame('x');
is reason(answer_of($s)), 'cxp1 r 7', 'an unknown kind';

$s = connection();
print $s frame('d', 'only a name');
is reason(answer_of($s)), 'cxp1 r 7', 'a part missing';

$s = connection();
for my $byte (split //, frame('d', 'Slow', '', '', '', '')) {
    syswrite $s, $byte;
    sleep 0.005;
}
like answer_of($s), qr/^cxp1k\x01/, 'byte by byte';

$s = lone_connection();
print $s substr frame('n', 'x' x 1000), 0, 500;
close $s;
ok idle(), 'a client that leaves leaves no child';

$s = lone_connection();
print $s substr frame('n', 'x' x 1000), 0, 500;
kill 'KILL', children();
is reason(answer_of($s)), 'cxp1 r 6', 'a child is killed: its client is told';
like draw("$dir/a.webp", 'Still', 'here', ''), qr/^ok/, 'the others go on';

idle();
my @waiting = map { connection() } 1 .. 7;
ok wait_until(sub { children() == 4 }), 'four children';
sleep 0.2;
is scalar(children()), 4, 'and not more';
my @drawing = fork // die;
if ($drawing[0] == 0) {
    open STDOUT, '>', '/dev/null';
    exec "$build/tools/picture_try", 'draw', $sock, "$dir/w.webp", 'W', '', '';
}
close $_ for @waiting;
waitpid $drawing[0], 0;
is $?, 0, 'who waited has its turn';

@drawing = ();
for my $n (1 .. 12) {
    my $pid = fork // die;
    if ($pid == 0) {
        open STDOUT, '>', '/dev/null';
        exec "$build/tools/picture_try", 'draw', $sock, "$dir/many$n.webp",
            "Nr $n", '', '', "$dir/plain.jpg";
    }
    push @drawing, $pid;
}
my $failed = 0;
for (@drawing) {
    waitpid $_, 0;
    $failed++ if $?;
}
is $failed, 0, 'twelve at once';
is scalar(grep { -s "$dir/many$_.webp" } 1 .. 12), 12, 'twelve drawings';

# --- the end of the parent

like run("$build/cardx-picture", $sock), qr/can't listen/,
    'no second one on the same socket';

my $last = lone_connection();
print $last substr frame('d', 'Last', '', '', '', ''), 0, 20;
kill 'TERM', $server, children();
ok wait_until(sub { !defined connection() }), 'after SIGTERM: nobody there';
like try('draw', $sock, "$dir/a.webp", 'A', '', ''), qr/^away /, 'away';
print $last substr frame('d', 'Last', '', '', '', ''), 20;
like answer_of($last), qr/^cxp1k/, 'who was there is served';
waitpid $server, 0;
is $?, 0, 'and it ends well';
undef $server;

start_server();
$s = lone_connection();
print $s substr frame('d', 'Orphan', '', '', '', ''), 0, 20;
stop_server('KILL');
print $s substr frame('d', 'Orphan', '', '', '', ''), 20;
like answer_of($s), qr/^cxp1k/, 'a child outlives its parent by a request';
like try('draw', $sock, "$dir/a.webp", 'A', '', ''), qr/^away /,
    'the parent is dead: away';

start_server();
like draw("$dir/a.webp", 'Again', '', ''), qr/^ok/, 'it starts where it died';
stop_server('TERM');

# A socket that somebody else opened, as descriptor 3.
unlink $sock;
$^F = 20;
my $listener = IO::Socket::UNIX->new(Local => $sock, Listen => 5) or die;
$server = fork // die;
if ($server == 0) {
    POSIX::dup2(fileno $listener, 3);
    $ENV{CARDX_LISTEN_FD} = 3;
    open STDERR, '>>', $log;
    exec "$build/cardx-picture" or die;
}
close $listener;
like draw("$dir/a.webp", 'Given', '', ''), qr/^ok/, 'a socket that is given';
stop_server('TERM');
is $?, 0, 'it ends well';

my $said = slurp($log);
unlike $said, qr/Secretville|Orphan|Anna|Sanitizer|\Q$dir\E/,
    'the log names nobody';
like $said, qr/^cardx-picture: normalise: The picture is damaged/m,
    'but says what failed';

done_testing();
