/** The notifications of Tukio. */

/** The names, as in the URLs of the API. */
export const notificationNames = ["receipt", "sms", "alert"] as const;

export type NotificationName = (typeof notificationNames)[number];
