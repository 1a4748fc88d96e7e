#!/usr/bin/perl
# The page that any camera opens, and from which one tap saves the card: F1.

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

my $t = CardxTest->new->start;
my $anna = { token => $t->register('+8613800005001')->{access_token} };

sub page {
    my ($card, %options) = @_;
    my $r = $t->post('/v1/cards',
        { '@type' => 'Card', version => '1.0', %$card }, $anna);
    die "$r->{status} $r->{body}" if $r->{status} != 201;
    my $path = "/v1/cards/$r->{json}{card_id}";
    for my $medium (@{ $options{media} || [] }) {
        my ($kind, $type, $bytes) = @$medium;
        my $put;
        # right after the start 503 is an answer that a client must expect
        $t->wait_for(sub {
            $put = $t->put("$path/media/$kind", $bytes,
                { %$anna, 'Content-Type' => $type });
            $put->{status} == 201;
        }) or die "$put->{status} $put->{body}";
    }
    my $key = $t->post("$path/keys", { fields => $options{fields} }, $anna)
        ->{json};
    return open_page($key->{link}, $options{language}), $key,
        $r->{json}{card_id};
}

sub open_page {
    my ($link, $language, %more) = @_;
    my $r = $t->get($link, undef, { Accept => 'text/html,*/*;q=0.8',
        defined $language ? ('Accept-Language' => $language) : (), %more });
    $r->{text} = Encode::decode('UTF-8', $r->{body} // '');
    return $r;
}

my $anna_card = {
    language => 'de',
    name => { full => 'Dr. Anna Ito' },
    nicknames => { n => { name => 'Änni' } },
    titles => { t => { name => 'Engineer' } },
    organizations => { o => { name => 'Rök & Co', units => [
        { name => 'Pumps' }] } },
    phones => {
        m => { number => '+49 171 5551212', pref => 1,
            features => { mobile => JSON::PP::true },
            contexts => { work => JSON::PP::true } },
        o => { number => '+49 30 5551212 ext. 7' },
        f => { number => '+49 30 999', features => { fax => JSON::PP::true } },
    },
    emails => { e => { address => 'anna@example.org' } },
    links => { l => { uri => 'https://example.org/anna?a=1&b=2' } },
    addresses => { a => { full => "Hauptstraße 1\n10115 Berlin" } },
    notes => { n => { note => "Erste Zeile\nzweite" } },
    anniversaries => { b => { kind => 'birth',
        date => { month => 5, day => 3 } } },
    localizations => { zh => { 'titles/t/name' => '工程师' } },
};
my $media = [['photo', 'image/jpeg', jpeg()],
    ['sound', 'audio/wav', wav(800)], ['video', 'video/mp4', mp4(900)]];

my ($r, $key, $id) = page($anna_card, media => $media);
my $k = "k=$key->{key}";

# --- the answer ------------------------------------------------------------

is($r->{status}, 200, 'a page');
is($r->{headers}{'content-type'}, 'text/html; charset=utf-8', 'HTML');
is($r->{headers}{'content-security-policy'},
    "default-src 'none'; img-src 'self'; media-src 'self'; "
    . "style-src 'self'; base-uri 'none'; form-action 'none'; "
    . "frame-ancestors 'none'", 'nothing from elsewhere, no script');
is($r->{headers}{'referrer-policy'}, 'no-referrer', 'no referrer');
is($r->{headers}{'cache-control'}, 'private, no-cache', 'private');
is($r->{headers}{vary}, 'Accept, Accept-Language', 'Vary');
is($r->{headers}{'content-language'}, 'en', 'in English');
my $etag = $r->{headers}{etag};
is(open_page($key->{link}, undef, 'If-None-Match' => $etag)->{status}, 304,
    'not modified');
isnt(open_page($key->{link}, 'zh')->{headers}{etag}, $etag,
    'in Chinese it is another one');
is($t->head($key->{link}, undef, { Accept => 'text/html' })->{status}, 200,
    'HEAD');

# --- what it shows ---------------------------------------------------------

my $text = $r->{text};
like($text, qr/^<!DOCTYPE html>\n<html lang="en">/, 'its language');
like($text, qr{<title>Dr\. Anna Ito</title>}, 'its title');
like($text, qr/<meta name="robots" content="noindex, nofollow">/, 'noindex');
like($text, qr/<meta name="viewport"/, 'for a phone');
like($text, qr{<h1 dir="auto" lang="de">Dr\. Anna Ito</h1>},
    'the name, in the language of the card');
for my $shown ('Engineer', 'Rök &amp; Co · Pumps', 'Änni', '+49 171 5551212',
    'anna@example.org', "Hauptstraße 1\n10115 Berlin", "Erste Zeile\nzweite",
    '3 May', 'Mobile · Work') {
    like($text, qr/>\Q$shown\E</, $shown =~ s/\n/ /gr);
}
for my $link ("/c/$id.vcf?$k", 'tel:+491715551212', 'sms:+491715551212',
    'tel:+49305551212;ext=7', 'mailto:anna@example.org',
    'https://example.org/anna?a=1&amp;b=2',
    'https://www.openstreetmap.org/search?query='
    . 'Hauptstra%C3%9Fe%201%2010115%20Berlin') {
    like($text, qr/href="\Q$link\E"/, "a tap: $link");
}
unlike($text, qr/href="tel:\+4930999"/, 'nobody calls a fax');
like($text, qr/5551212 ext\. 7.*49 30 999/s, 'which comes last');
for my $kind (qw(photo sound video)) {
    like($text, qr{src="\Q/c/$id/$kind?$k\E"}, "its $kind");
    is($t->get("/c/$id/$kind?$k")->{status}, 200, 'opens with the key');
}
like($text, qr/<audio controls[^>]*>.*type="audio\/wav"/s, 'played here');
like($text, qr/<img class="photo"[^>]* alt="Photo of Dr\. Anna Ito">/, 'alt');
my $preview = $t->url . $key->{thumbnail};
like($text, qr/<meta property="og:image" content="\Q$preview\E">/,
    'a preview shows the thumbnail');

is(scalar(() = $text =~ /<script|<iframe|<form|style=| on\w+=/g), 0,
    'no script, no frame, no form, no inline style');
my @loaded = $text =~ /(?:src|<link[^>]*href)="([^"]*)"/g;
is(join(' ', grep { !m{^/(?:c|static)/} } @loaded), '',
    'everything it loads is ours');
my ($save) = $text =~ /href="([^"]*\.vcf[^"]*)"/;
$r = $t->get($save, undef, { Accept => 'text/html,*/*;q=0.8' });
like($r->{headers}{'content-disposition'}, qr/^attachment;/,
    'one tap saves it');
like($r->{body}, qr/^FN:Dr\. Anna Ito\r$/m, 'to the contacts');

for my $file (grep { m{^/static/} } @loaded) {
    $r = $t->get($file);
    is($r->{status}, 200, $file);
    like($r->{headers}{'content-type'}, qr{^text/css|^image/svg}, 'its type');
}
$r = $t->get('/static/card.css');
my @icons = $r->{body} =~ /url\(([^)]*)\)/g;
is(join(' ', grep { !/^[\w.]+$/ } @icons), '', 'the sheet loads ours alone');
is($t->get("/static/$icons[0]")->{status}, 200, 'which are there');

# --- as far as the key goes ------------------------------------------------

($r, $key) = page($anna_card, media => $media, fields => ['phones/o']);
like($r->{text}, qr/5551212 ext/, 'the number that shows');
unlike($r->{text}, qr/171|anna\@|Engineer|<img|<audio|<video|工程师/,
    'nothing that does not');

# --- languages -------------------------------------------------------------

for my $case (['zh-CN,zh;q=0.9,en;q=0.8', 'zh-Hans'], ['en;q=0.5,zh', 'zh-Hans'],
    ['zh', 'zh-Hans'], ['de,zh;q=0.4,en;q=0.3', 'zh-Hans'], ['en-GB', 'en'],
    ['de', 'en'], ['*', 'en'], ['en, zh', 'en'], ['zh;q=0', 'en']) {
    my ($wanted, $given) = @$case;
    ($r) = open_page($key->{link}, $wanted);
    like($r->{text}, qr/<html lang="$given">/, "$wanted: $given");
    is($r->{headers}{'content-language'}, $given, 'and says so');
}
($r) = page($anna_card, language => 'zh-TW');
like($r->{text}, qr/保存到通讯录/, 'in Chinese');
like($r->{text}, qr/5月3日/, 'dates too');
like($r->{text}, qr{<p class="title" dir="auto" lang="zh">工程师</p>},
    'and what the card says in Chinese');

($r) = page({ language => 'ar', name => { full => 'ليلى المنصوري' } });
like($r->{text}, qr{<h1 dir="auto" lang="ar">ليلى المنصوري</h1>},
    'Arabic finds its direction');
like($r->{text}, qr{aria-hidden="true">ل</span>}, 'without a photo: a letter');
($r) = page({ name => { components => [{ kind => 'given', value => 'Bo' },
    { kind => 'surname', value => 'Ek' }] } });
like($r->{text}, qr{<h1 [^>]*>Bo Ek</h1>}, 'a name of components');
like($r->{text}, qr{aria-hidden="true">BE</span>}, 'its initials');
like((page({}))[0]{text}, qr{<h1 [^>]*>Name card</h1>}, 'no name at all');

# --- what the card's owner must not be able to do --------------------------

my $evil = q{<script>alert(1)</script>"'&};
my $is = { 'x' => JSON::PP::true };
($r) = page({
    name => { full => $evil }, language => 'en"><script>',
    nicknames => { n => { name => $evil } },
    titles => { t => { name => $evil } },
    organizations => { o => { name => $evil } },
    speakToAs => { pronouns => { p => { pronouns => $evil } } },
    phones => { p => { number => $evil, label => $evil },
        q => { number => "+1\"><script>2345", features => { fax => $is->{x} } } },
    emails => { e => { address => qq{x\@y"onclick="alert(1)} } },
    onlineServices => {
        s => { service => $evil, user => $evil, uri => 'javascript:alert(1)' },
        d => { uri => 'data:text/html,<script>alert(1)</script>' } },
    links => { map {; "l$_->[0]" => { uri => $_->[1] } }
        [1, 'javascript:alert(1)'], [2, " javascript:alert(1)"],
        [3, "java\tscript:alert(1)"], [4, 'JAVASCRIPT:alert(1)'],
        [5, 'vbscript:x'], [6, 'file:///etc/passwd'], [7, '//evil.example'],
        [8, 'https://example.org/"><script>x</script>'],
        [9, 'blob:https://example.org/x'] },
    addresses => { a => { full => $evil, coordinates => "geo:1\">,2" } },
    notes => { n => { note => $evil } },
    keywords => { $evil => $is->{x} },
    media => { m => { kind => 'photo', uri => 'https://evil.example/x.png' } },
});
is($r->{status}, 200, 'an evil card');
my @tags = $r->{text} =~ /<([a-z1-6]+)/gi;
is(scalar(grep { /script|iframe|object|embed/i } @tags), 0, 'no script in it');
my @hrefs = $r->{text} =~ /(?:href|src)="([^"]*)"/g;
is(join(' ', grep { !m{^(?:/(?:c|static)/|https://|mailto:|tel:|sms:)} }
    @hrefs), '', 'no link but those that are harmless');
unlike($r->{text}, qr/(?:src|href)="[^"]*evil\.example/, 'nothing is loaded');
unlike($r->{text}, qr/<[^>]* onclick/, 'no attribute of its own');
like($r->{text}, qr/&lt;script&gt;alert\(1\)&lt;\/script&gt;&quot;&#39;&amp;/,
    'its texts are texts');

# What is a link, and to where; undef: the text alone.
my @numbers = (['+49 (0)30 / 5551-212' => 'tel:+49305551212'],
    ["010\x{2013}6552\x{a0}9988 转 12" => 'tel:01065529988;ext=12'],
    ['tel:+1-201-555-0123;ext=4' => 'tel:+12015550123;ext=4'],
    ['(201) 555 x 9' => 'tel:201555;ext=9'],
    map {; [$_ => undef] } '*21*5551212#', '#31#5551212', '5551212*7',
        '1-800-FLOWERS', '555,,12', '555 x', 'tel:%2306%23', '１２３ 45');
my @addresses = (['a@example.org' => 'mailto:a@example.org'],
    ['a?bcc=x@example.org' => 'mailto:a%3Fbcc%3Dx@example.org'],
    ['a&b%c,d@example.org' => 'mailto:a%26b%25c%2Cd@example.org'],
    ['a@example.org?bcc=x@y.example'
        => 'mailto:a%40example.org%3Fbcc%3Dx@y.example'],
    ['a@example.org?subject=x' => 'mailto:a@example.org%3Fsubject%3Dx'],
    map {; [$_ => undef] } "a\tb\@example.org", 'a b@example.org', 'a', '@x');
my @uris = (['HTTP://example.org/' => 'HTTP://example.org/'],
    ["https://example.org/\ta" => 'https://example.org/%09a'],
    ['tel:+1 201' => 'tel:+1201'],
    map {; [$_ => undef] } 'https:example.org', 'http:/x', 'tel:*%2321%23',
        'sms:1?body=2', "java\tscript:alert(1)", "ht\ttps://example.org");
my @linked = ((map { [phones => number => @$_] } @numbers),
    (map { [emails => address => @$_] } @addresses),
    (map { [links => uri => @$_] } @uris));
for my $case (@linked) {
    my ($property, $member, $value, $link) = @$case;
    ($r) = page({ $property => { x => { $member => $value } } });
    my ($got) = $r->{text} =~ /<a class="row" [^>]*href="([^"]*)"/;
    is($got, defined $link ? $link =~ s/&/&amp;/gr : undef,
        "$member: " . $value =~ s/\t/<tab>/r);
}

# --- what no key opens -----------------------------------------------------

my $refused = open_page("/c/$id?k=" . 'A' x 26);
is($refused->{status}, 404, 'no such key');
is($refused->{headers}{'content-type'}, 'text/html; charset=utf-8', 'a page');
like($refused->{headers}{'content-security-policy'}, qr/^default-src 'none'/,
    'as harmless');
is($refused->{headers}{'cache-control'}, 'no-store', 'not kept');
like($refused->{text}, qr/Ask the person/, 'says what to do');
like(open_page("/c/$id?k=" . 'A' x 26, 'zh')->{text}, qr/索取新的二维码/,
    'in Chinese too');
for my $damaged ("/c/$id", "/c/$id?k=short", '/c/x', '/q/xx',
    '/q/' . '1' x 26) {
    is(open_page($damaged)->{body}, $refused->{body}, "the same for $damaged");
}
$t->delete("/v1/cards/$id", undef, $anna);
is(open_page("/c/$id?$k")->{body}, $refused->{body},
    'the same for a card that is gone');

$t->finish;
done_testing;
