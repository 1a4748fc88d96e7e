#include "page_text.h"

#include <string.h>


static const char *const english[CX_SAY_N] = {
    [CX_SAY_SAVE] = "Save to contacts",
    [CX_SAY_SAVE_HINT] = "No app and no account needed.",
    [CX_SAY_REACH] = "Get in touch",
    [CX_SAY_CALL] = "Call",
    [CX_SAY_TEXT] = "Message",
    [CX_SAY_MAIL] = "Mail",
    [CX_SAY_MAP] = "Map",
    [CX_SAY_WEB] = "Web",
    [CX_SAY_PHONES] = "Phone",
    [CX_SAY_ONLINE] = "Online",
    [CX_SAY_ADDRESSES] = "Address",
    [CX_SAY_ABOUT] = "About",
    [CX_SAY_LISTEN] = "Listen",
    [CX_SAY_WATCH] = "Watch",
    [CX_SAY_WORK] = "Work",
    [CX_SAY_PRIVATE] = "Private",
    [CX_SAY_BILLING] = "Billing",
    [CX_SAY_DELIVERY] = "Deliveries",
    [CX_SAY_PHONE] = "Phone",
    [CX_SAY_MOBILE] = "Mobile",
    [CX_SAY_FAX] = "Fax",
    [CX_SAY_PAGER] = "Pager",
    [CX_SAY_TEXTPHONE] = "Text telephone",
    [CX_SAY_VIDEO] = "Video call",
    [CX_SAY_MAIN_NUMBER] = "Switchboard",
    [CX_SAY_EMAIL] = "E-mail",
    [CX_SAY_PROFILE] = "Profile",
    [CX_SAY_WEBSITE] = "Website",
    [CX_SAY_ADDRESS] = "Address",
    [CX_SAY_BIRTHDAY] = "Birthday",
    [CX_SAY_WEDDING] = "Wedding day",
    [CX_SAY_DEATH] = "Died",
    [CX_SAY_ANNIVERSARY] = "Anniversary",
    [CX_SAY_NOTE] = "Note",
    [CX_SAY_LANGUAGES] = "Languages",
    [CX_SAY_EXPERTISE] = "Expertise",
    [CX_SAY_HOBBY] = "Hobby",
    [CX_SAY_INTEREST] = "Interest",
    [CX_SAY_KEYWORDS] = "Keywords",
    [CX_SAY_PHOTO_OF] = "Photo of %s",
    [CX_SAY_LOGO_OF] = "Logo of %s",
    [CX_SAY_NOBODY] = "Name card",
    [CX_SAY_FOOT] = "This page loads nothing from elsewhere and keeps no "
                    "cookies.",
    [CX_SAY_REFUSED_TITLE] = "This card can’t be opened",
    [CX_SAY_REFUSED] = "There is no such card, or the key does not open it. "
                       "Keys are given for a time, and can be taken back.",
    [CX_SAY_REFUSED_WHAT] = "Ask the person whose card it is for a new code.",
};

static const char *const chinese[CX_SAY_N] = {
    [CX_SAY_SAVE] = "保存到通讯录",
    [CX_SAY_SAVE_HINT] = "无需安装应用，无需注册。",
    [CX_SAY_REACH] = "联系",
    [CX_SAY_CALL] = "电话",
    [CX_SAY_TEXT] = "短信",
    [CX_SAY_MAIL] = "邮件",
    [CX_SAY_MAP] = "地图",
    [CX_SAY_WEB] = "网站",
    [CX_SAY_PHONES] = "电话",
    [CX_SAY_ONLINE] = "网络",
    [CX_SAY_ADDRESSES] = "地址",
    [CX_SAY_ABOUT] = "简介",
    [CX_SAY_LISTEN] = "语音",
    [CX_SAY_WATCH] = "视频",
    [CX_SAY_WORK] = "工作",
    [CX_SAY_PRIVATE] = "个人",
    [CX_SAY_BILLING] = "账单",
    [CX_SAY_DELIVERY] = "收货",
    [CX_SAY_PHONE] = "电话",
    [CX_SAY_MOBILE] = "手机",
    [CX_SAY_FAX] = "传真",
    [CX_SAY_PAGER] = "寻呼机",
    [CX_SAY_TEXTPHONE] = "文字电话",
    [CX_SAY_VIDEO] = "视频通话",
    [CX_SAY_MAIN_NUMBER] = "总机",
    [CX_SAY_EMAIL] = "电子邮件",
    [CX_SAY_PROFILE] = "主页",
    [CX_SAY_WEBSITE] = "网站",
    [CX_SAY_ADDRESS] = "地址",
    [CX_SAY_BIRTHDAY] = "生日",
    [CX_SAY_WEDDING] = "结婚纪念日",
    [CX_SAY_DEATH] = "逝世",
    [CX_SAY_ANNIVERSARY] = "纪念日",
    [CX_SAY_NOTE] = "备注",
    [CX_SAY_LANGUAGES] = "语言",
    [CX_SAY_EXPERTISE] = "专长",
    [CX_SAY_HOBBY] = "爱好",
    [CX_SAY_INTEREST] = "兴趣",
    [CX_SAY_KEYWORDS] = "关键词",
    [CX_SAY_PHOTO_OF] = "%s的照片",
    [CX_SAY_LOGO_OF] = "%s的标志",
    [CX_SAY_NOBODY] = "名片",
    [CX_SAY_FOOT] = "本页不加载任何外部内容，也不使用 Cookie。",
    [CX_SAY_REFUSED_TITLE] = "无法打开这张名片",
    [CX_SAY_REFUSED] = "名片不存在，或密钥无法打开它。密钥有时限，也可能被"
                       "收回。",
    [CX_SAY_REFUSED_WHAT] = "请向名片的主人索取新的二维码。",
};


const char *
cx_page_language_tag(const char *language)
{
    return strcmp(language, "zh") == 0 ? "zh-Hans" : "en";
}


const char *
cx_say(const char *language, cx_say_t what)
{
    return strcmp(language, "zh") == 0 ? chinese[what] : english[what];
}
